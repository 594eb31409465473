//! `GET /`: one small page for people, a client of the JSON routes like any other.
//!
//! Markup, style and script are files of their own here and one document on the wire: one request, nothing to build, nothing
//! from elsewhere. What may run on it is pinned by digest (CSP level 3), so nothing that gets into it can.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::{CROSS_ORIGIN_RESOURCE_POLICY, answer};
use crate::cache::Body;

/// Where the style goes in a page's markup, and where its script goes.
const STYLE: [&str; 2] = ["<style>", "</style>"];
const SCRIPT: [&str; 2] = ["<script>", "</script>"];

/// A whole page and its headers.
#[derive(Debug)]
pub(super) struct Page {
    body: Body,
    headers: HeaderMap,
}

impl Page {
    /// The page of the public listener.
    pub(super) fn home() -> Self {
        Self::new(include_str!("index.html"), include_str!("page.css"), include_str!("page.js"))
    }

    /// Puts a page together: `style` and `script` go into the empty elements of these names in `markup`.
    pub(super) fn new(markup: &str, style: &str, script: &str) -> Self {
        let fill = |text: String, [open, close]: [&str; 2], with: &str| {
            text.replacen(&[open, close].concat(), &[open, with, close].concat(), 1)
        };
        let text = fill(fill(markup.to_owned(), STYLE, style), SCRIPT, script);
        let body = Body::plain(text.into());
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        // Kept, but asked after each time: a page must not be older than the service behind it.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(ETAG, HeaderValue::from_static(""));
        headers.insert(CONTENT_SECURITY_POLICY, policy(style, script));
        headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
        Self { body, headers }
    }

    /// The page as this caller takes it: compressed, or not at all if it has it already.
    pub(super) fn answer(&self, request: &HeaderMap) -> Response {
        answer::represented(&self.body, request, self.headers.clone())
    }
}

/// What a page may do (CSP level 3): run this script, look like this, ask its own origin. No form is sent anywhere, no text
/// becomes markup (Trusted Types).
fn policy(style: &str, script: &str) -> HeaderValue {
    let digest = |text: &str| STANDARD.encode(Sha256::digest(text));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        digest(script),
        digest(style),
    );
    HeaderValue::try_from(policy).expect("base64 is visible ASCII")
}

/// The handler of a page.
pub(super) async fn show(State(page): State<Arc<Page>>, headers: HeaderMap) -> Response {
    page.answer(&headers)
}
