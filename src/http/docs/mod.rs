//! `/openapi.json`, the description of the public listener, and `/docs`, the page that shows it and tries it out.
//!
//! The page is Swagger UI as it is published, compiled in: it asks nobody but this service for anything, and its own
//! Content-Security-Policy holds it to that.

use std::borrow::Cow;
use std::io::Read;
use std::sync::{Arc, LazyLock, OnceLock};

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;

use super::answer::{matches, represented};
use super::coding::welcome;
use super::openapi::{self, Terms};
use super::problem::Problem;
use crate::cache::{Body, Coding};

/// Scripts and requests: ours only. Swagger UI writes styles into the page and has its icons in its style sheet.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
/// Kept, but asked after each time: a page must not be older than the service behind it.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");
/// What is Swagger UI's only changes when this program does.
const AN_HOUR: HeaderValue = HeaderValue::from_static("public, max-age=3600");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const CSS: HeaderValue = HeaderValue::from_static("text/css; charset=utf-8");
const JAVASCRIPT: HeaderValue = HeaderValue::from_static("text/javascript; charset=utf-8");
const SVG: HeaderValue = HeaderValue::from_static("image/svg+xml");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The document, written when the first one asks for it.
#[derive(Clone)]
struct Document(Arc<(Terms, OnceLock<Body>)>);

impl Document {
    fn body(&self) -> &Body {
        let (terms, body) = &*self.0;
        body.get_or_init(|| {
            // Its keys are texts, so it can always be written.
            Body::plain(serde_json::to_vec(&openapi::document(*terms)).unwrap_or_default().into())
        })
    }
}

/// The routes of both.
pub(super) fn routes(terms: Terms) -> Router {
    Router::new()
        .route("/openapi.json", get(document))
        .route("/docs", get(page))
        .route("/docs/", get(page))
        .route("/docs/{file}", get(file))
        .with_state(Document(Arc::new((terms, OnceLock::new()))))
}

async fn document(State(document): State<Document>, headers: HeaderMap) -> Response {
    represented(document.body(), &headers, described(JSON))
}

async fn page(headers: HeaderMap) -> Response {
    represented(&PAGE, &headers, described(HTML))
}

async fn file(name: Result<Path<String>, PathRejection>, headers: HeaderMap) -> Response {
    // One that is no text names nothing, either.
    let Ok(Path(name)) = name else { return Problem::not_found().into_response() };
    if let Some((_, media_type, body)) = OWN.iter().find(|(own, ..)| *own == name) {
        return represented(body, &headers, described(media_type.clone()));
    }
    match SWAGGER_UI.iter().find(|asset| asset.name == name) {
        Some(asset) => asset.represented(&headers),
        None => Problem::not_found().into_response(),
    }
}

fn described(media_type: HeaderValue) -> HeaderMap {
    [(CONTENT_TYPE, media_type), (CACHE_CONTROL, ASK_AGAIN), (CONTENT_SECURITY_POLICY, POLICY)].into_iter().collect()
}

static PAGE: LazyLock<Body> = LazyLock::new(|| text(include_str!("index.html")));
/// Our own files of the page.
static OWN: LazyLock<[(&str, HeaderValue, Body); 3]> = LazyLock::new(|| {
    [
        ("start.js", JAVASCRIPT, text(include_str!("start.js"))),
        ("page.css", CSS, text(include_str!("page.css"))),
        ("icon.svg", SVG, text(include_str!("icon.svg"))),
    ]
});
/// Those that are Swagger UI's.
static SWAGGER_UI: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    let files = [("swagger-ui-bundle.js", JAVASCRIPT), ("swagger-ui.css", CSS)];
    files.into_iter().filter_map(|(name, media_type)| Asset::new(name, media_type)).collect()
});

fn text(text: &'static str) -> Body {
    Body::plain(Bytes::from_static(text.as_bytes()))
}

/// A long file that is compiled in compressed: most callers get it as it is.
struct Asset {
    name: &'static str,
    media_type: HeaderValue,
    gzip: Body,
    /// For those who do not take gzip.
    plain: OnceLock<Body>,
}

impl Asset {
    fn new(name: &'static str, media_type: HeaderValue) -> Option<Self> {
        let config = Arc::new(utoipa_swagger_ui::Config::default());
        let file = utoipa_swagger_ui::serve(name, config).ok()??;
        let bytes = match file.bytes {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => bytes.into(),
        };
        file.gzpipped.then(|| Self { name, media_type, gzip: Body::plain(bytes), plain: OnceLock::new() })
    }

    fn represented(&self, request: &HeaderMap) -> Response {
        let mut headers = described(self.media_type.clone());
        headers.insert(CACHE_CONTROL, AN_HOUR);
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        let body = if welcome(request, Coding::Gzip) {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(Coding::Gzip.name()));
            &self.gzip
        } else {
            self.plain.get_or_init(|| inflated(&self.gzip.bytes()))
        };
        // A tag is visible ASCII.
        headers
            .insert(ETAG, HeaderValue::from_maybe_shared(body.tag().clone()).unwrap_or(HeaderValue::from_static("")));
        if request.get_all(IF_NONE_MATCH).iter().any(|value| matches(value, body.tag())) {
            headers.remove(CONTENT_TYPE);
            headers.remove(CONTENT_ENCODING);
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        (headers, body.bytes()).into_response()
    }
}

/// What was compressed when the program was built.
fn inflated(gzip: &[u8]) -> Body {
    let mut plain = Vec::new();
    // What was whole when it was compiled in is whole.
    let _ = flate2::read::GzDecoder::new(gzip).read_to_end(&mut plain);
    Body::plain(plain.into())
}
