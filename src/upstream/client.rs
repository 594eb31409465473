//! One bounded call over HTTP.
//!
//! The key is added to the URL in one place, here, and a URL with a key in it is never formatted: `reqwest::Error` prints
//! its URL, so every such error is turned into one of ours at once.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::budget::Permit;
use super::{Call, openweather};
use crate::clock::Clock;
use crate::reload::Live;
use crate::weather::{Fetched, Fetching, Query, SourceError};

/// Connections that are kept open when idle; more would only idle, at one call a second.
const IDLE_CONNECTIONS: usize = 8;
/// Below the usual 75 s after which servers close idle connections, so that we seldom write into a closing one.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How to reach OpenWeatherMap.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Scheme, host, port and an optional path before `/data/2.5/weather`.
    pub base_url: Url,
    /// The key. Without one nothing can be asked, only answered from the store.
    pub api_key: Option<Live<SecretString>>,
    /// PEM file of the only authorities to trust; the system's when `None`.
    pub ca_file: Option<PathBuf>,
    /// For TCP and TLS.
    pub connect_timeout: Duration,
    /// For the whole call.
    pub timeout: Duration,
    /// Longest body that is read, in bytes after decompression.
    pub max_body_bytes: usize,
}

/// The upstream cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The file of authorities is not usable.
    #[error("upstream.ca_file: {0} holds no usable certificate")]
    Authorities(PathBuf),
    /// The TLS client could not be made.
    #[error("the system's certificate store is not usable: give upstream.ca_file")]
    Client,
}

/// A client of OpenWeatherMap.
pub struct OpenWeatherMap {
    client: Client,
    config: ClientConfig,
    clock: Clock,
}

impl OpenWeatherMap {
    /// Sets the client up; calls nobody.
    ///
    /// # Errors
    /// The authorities are not usable.
    pub fn new(config: ClientConfig, clock: Clock) -> Result<Self, UpstreamError> {
        let mut builder = Client::builder()
            .user_agent(concat!("stratus/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(config.connect_timeout)
            .timeout(config.timeout)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .pool_idle_timeout(IDLE_TIMEOUT)
            // A redirect would carry the key to wherever it points.
            .redirect(Policy::none())
            .referer(false)
            // A proxy taken from the environment would see the key of a plain http:// upstream.
            .no_proxy()
            .https_only(config.base_url.scheme() == "https");
        if let Some(path) = &config.ca_file {
            let unusable = || UpstreamError::Authorities(path.clone());
            let pem = std::fs::read(path).map_err(|_| unusable())?;
            let authorities = Certificate::from_pem_bundle(&pem).map_err(|_| unusable())?;
            if authorities.is_empty() {
                return Err(unusable());
            }
            builder = builder.tls_certs_only(authorities);
        }
        let client = builder.build().map_err(|_| match &config.ca_file {
            Some(path) => UpstreamError::Authorities(path.clone()),
            None => UpstreamError::Client,
        })?;
        Ok(Self { client, config, clock })
    }

    async fn ask(&self, query: &Query) -> Result<Fetched, SourceError> {
        let key = self.config.api_key.as_ref().ok_or(SourceError::NoKey)?.get();
        let mut url = self.config.base_url.clone();
        openweather::write_request(&mut url, query, key.expose_secret());

        let response = self.client.get(url).send().await.map_err(|error| unsent(&error))?;
        let status = response.status();
        let retry_after = openweather::retry_after(response.headers());
        if status.is_redirection() {
            return Err(SourceError::Failed);
        }
        // The status says enough of a failure, whatever becomes of its body.
        let body = match self.body(response).await {
            Err(_) if !status.is_success() => Bytes::new(),
            body => body?,
        };
        openweather::judge(status.as_u16(), &body, retry_after)?;
        if repeats(&body, key.expose_secret()) {
            tracing::error!("the upstream repeated our key in an answer, which is not passed on");
            return Err(SourceError::InvalidResponse);
        }
        Ok(Fetched { body, fetched_at_ms: self.clock.now_ms() })
    }

    /// Reads at most the configured number of bytes.
    async fn body(&self, mut response: Response) -> Result<Bytes, SourceError> {
        let mut body = BytesMut::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| if error.is_timeout() { SourceError::Timeout } else { SourceError::InvalidResponse })?
        {
            if body.len() + chunk.len() > self.config.max_body_bytes {
                return Err(SourceError::InvalidResponse);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// Whether there is a key.
    pub fn has_key(&self) -> bool {
        self.config.api_key.is_some()
    }

    /// The upstream's status and `Date` header for a question whose answer is known to exist: for `stratus check`.
    ///
    /// # Errors
    /// There is no key, or no answer.
    pub async fn examine(&self, _permit: Permit) -> Result<Examination, SourceError> {
        let mut url = self.config.base_url.clone();
        let key = self.config.api_key.as_ref().ok_or(SourceError::NoKey)?.get();
        let query = Query::parse("London", "").map_err(|_| SourceError::Failed)?;
        openweather::write_request(&mut url, &query, key.expose_secret());
        let response = self.client.get(url).send().await.map_err(|error| unsent(&error))?;
        let date = response.headers().get(reqwest::header::DATE).and_then(|date| date.to_str().ok()).map(str::to_owned);
        let status = response.status().as_u16();
        let retry_after = openweather::retry_after(response.headers());
        let body = self.body(response).await.unwrap_or_default();
        Ok(Examination { status, is_weather: openweather::judge(status, &body, retry_after).is_ok(), date })
    }
}

/// What [`OpenWeatherMap::examine`] saw.
#[derive(Debug)]
pub struct Examination {
    /// The status code.
    pub status: u16,
    /// The body is weather.
    pub is_weather: bool,
    /// The `Date` header (RFC 9110, section 6.6.1).
    pub date: Option<String>,
}

/// Whether a body holds the key. A key is 32 characters; something much shorter may stand in a body by chance.
fn repeats(body: &[u8], key: &str) -> bool {
    key.len() >= 16 && body.windows(key.len()).any(|window| window == key.as_bytes())
}

/// The only place that looks at an error of the client: it holds the URL with the key and is dropped here.
fn unsent(error: &reqwest::Error) -> SourceError {
    if error.is_timeout() {
        SourceError::Timeout
    } else if error.is_connect() || closed_unanswered(error) {
        SourceError::Unavailable
    } else {
        SourceError::InvalidResponse
    }
}

/// The connection ended before the head of an answer.
fn closed_unanswered(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message)
            || error.is::<io::Error>()
        {
            return true;
        }
        source = error.source();
    }
    false
}

impl Call for OpenWeatherMap {
    fn call<'a>(&'a self, query: &'a Query, _permit: Permit) -> Fetching<'a> {
        Box::pin(self.ask(query))
    }

    fn is_ready(&self) -> bool {
        self.has_key()
    }
}
