//! One bounded call over HTTP.
//!
//! The key is added to the URL in one place, here, and a URL with a key in it is never formatted: `reqwest::Error` prints
//! its URL, so every such error is turned into one of ours at once.

use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use percent_encoding::percent_decode;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::budget::Permit;
use super::{Call, openweather};
use crate::clock::Clock;
use crate::reload::{Live, Reading, fingerprint, read_regular};
use crate::telemetry::{Span, trace};
use crate::weather::{Failure, Fetched, Fetching, Query, Shape, SourceError};

/// Connections that are kept open when idle; more would only idle, at one call a second.
const IDLE_CONNECTIONS: usize = 8;
/// Below the usual 75 s after which servers close idle connections, so that we seldom write into a closing one.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How to reach OpenWeatherMap.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Scheme, host, port and an optional path before `/data/2.5/weather`.
    pub base_url: Url,
    /// The only authorities to trust; the system's when `None`.
    pub authorities: Option<Live<Authorities>>,
    /// For TCP and TLS.
    pub connect_timeout: Duration,
    /// For the whole call.
    pub timeout: Duration,
    /// Longest body that is read, in bytes after decompression.
    pub max_body_bytes: usize,
}

/// The only authorities that are trusted for the upstream's certificate.
#[derive(Debug)]
pub struct Authorities(Vec<Certificate>);

impl Authorities {
    /// Reads them from a PEM file.
    ///
    /// # Errors
    /// The file cannot be read or holds no usable certificate, as a sentence with the fix.
    pub fn read(path: &Path) -> Result<Reading<Self>, String> {
        let pem = read_regular(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let unusable = || format!("{} holds no usable certificate: give a PEM file of authorities", path.display());
        let authorities = Certificate::from_pem_bundle(&pem).map_err(|_| unusable())?;
        if authorities.is_empty() {
            return Err(unusable());
        }
        // Only a client looks into them.
        Client::builder().tls_certs_only(authorities.clone()).build().map_err(|_| unusable())?;
        Ok(Reading { fingerprint: fingerprint([pem.as_slice()]), value: Self(authorities) })
    }
}

/// The system's authorities cannot be used, and no others were given.
#[derive(Debug, thiserror::Error)]
#[error("the system's certificate store is not usable: give upstream.ca_file")]
pub struct UpstreamError;

/// A client of OpenWeatherMap.
pub struct OpenWeatherMap {
    connections: ArcSwap<Connections>,
    config: ClientConfig,
    clock: Clock,
}

/// Connections whose other ends these authorities vouch for.
struct Connections {
    authorities: Option<Arc<Authorities>>,
    client: Client,
}

impl Connections {
    fn new(config: &ClientConfig, authorities: Option<Arc<Authorities>>) -> Result<Self, UpstreamError> {
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
        if let Some(authorities) = &authorities {
            builder = builder.tls_certs_only(authorities.0.clone());
        }
        let client = builder.build().map_err(|_| UpstreamError)?;
        Ok(Self { authorities, client })
    }
}

impl OpenWeatherMap {
    /// Sets the client up; calls nobody.
    ///
    /// # Errors
    /// There are no usable authorities.
    pub fn new(config: ClientConfig, clock: Clock) -> Result<Self, UpstreamError> {
        let authorities = config.authorities.as_ref().map(Live::get);
        Ok(Self { connections: ArcSwap::from_pointee(Connections::new(&config, authorities)?), config, clock })
    }

    /// The client; a new one when the authorities were replaced, so that no connection is used that the new ones would not
    /// vouch for.
    fn client(&self) -> Client {
        let connections = self.connections.load();
        let Some(authorities) = self.config.authorities.as_ref().map(Live::get) else {
            return connections.client.clone();
        };
        if connections.authorities.as_ref().is_some_and(|known| Arc::ptr_eq(known, &authorities)) {
            return connections.client.clone();
        }
        match Connections::new(&self.config, Some(authorities)) {
            Ok(new) => {
                let client = new.client.clone();
                self.connections.store(Arc::new(new));
                client
            }
            // They were tried when they were read, so this does not happen.
            Err(_) => connections.client.clone(),
        }
    }

    async fn ask(&self, query: &Query, key: &SecretString) -> Result<Fetched, Failure> {
        let mut url = self.config.base_url.clone();
        openweather::write_request(&mut url, query, key.expose_secret());
        let span = trace::call(&url, query.endpoint().paths[0]);
        let fetched = self.send(url, query, key, &span).await;
        match &fetched {
            // An unknown place is an answer.
            Ok(_) | Err(Failure { error: SourceError::UnknownLocation, .. }) => {}
            Err(failure) => span.fail(failure.error.as_str()),
        }
        fetched
    }

    async fn send(&self, url: Url, query: &Query, key: &SecretString, span: &Span) -> Result<Fetched, Failure> {
        let mut request = self.client().get(url);
        if let Some(traceparent) = span.traceparent() {
            request = request.header("traceparent", traceparent);
        }
        let response = request.send().await.map_err(|error| unsent(&error))?;
        let status = response.status();
        span.set("http.response.status_code", status.as_u16());
        let retry_after = openweather::retry_after(response.headers());
        if status.is_redirection() {
            return Err(SourceError::Failed.into());
        }
        // The status says enough of a failure, whatever becomes of its body.
        let body = match self.body(response).await {
            Err(_) if !status.is_success() => Bytes::new(),
            body => body?,
        };
        let endpoint = query.endpoint();
        let judged = openweather::judge(endpoint, status.as_u16(), &body, retry_after);
        let body = match endpoint.shape {
            Shape::Pages if judged.is_ok() => openweather::without_origin(endpoint, &body, &self.config.base_url)
                .ok_or(SourceError::InvalidResponse)?,
            _ => body,
        };
        if repeats(&body, key.expose_secret()) {
            tracing::error!("the upstream repeated our key in an answer, which is not passed on");
            return Err(judged.err().map_or(SourceError::InvalidResponse, |failure| failure.error).into());
        }
        judged?;
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

    /// The upstream's status and `Date` header for a question whose answer is known to exist: for `stratus check`.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn examine(&self, key: &SecretString, _permit: Permit) -> Result<Examination, SourceError> {
        let mut url = self.config.base_url.clone();
        let query = Query::parse("London", "").map_err(|_| SourceError::Failed)?;
        openweather::write_request(&mut url, &query, key.expose_secret());
        let response = self.client().get(url).send().await.map_err(|error| unsent(&error))?;
        let date = response.headers().get(reqwest::header::DATE).and_then(|date| date.to_str().ok()).map(str::to_owned);
        let status = response.status().as_u16();
        let retry_after = openweather::retry_after(response.headers());
        let body = self.body(response).await.unwrap_or_default();
        Ok(Examination {
            status,
            is_weather: openweather::judge(query.endpoint(), status, &body, retry_after).is_ok(),
            date,
        })
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

/// Whether a body holds the key, be it as URLs or JSON write what is no letter or digit in it. A key is 32 characters;
/// something much shorter may stand in a body by chance.
fn repeats(body: &[u8], key: &str) -> bool {
    let holds = |text: &[u8]| text.windows(key.len()).any(|window| window == key.as_bytes());
    let is_written_otherwise = || body.iter().any(|byte| matches!(byte, b'%' | b'\\'));
    let unescaped = || percent_decode(body).filter(|byte| *byte != b'\\').collect::<Vec<_>>();
    key.len() >= 16 && (holds(body) || is_written_otherwise() && holds(&unescaped()))
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
    fn call<'a>(&'a self, query: &'a Query, key: &'a SecretString, _permit: Permit) -> Fetching<'a> {
        Box::pin(self.ask(query, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_however_a_link_or_json_writes_it() {
        let key = "abc+def/ghi=jkl0123";
        for body in [
            "{\"x\":\"abc+def/ghi=jkl0123\"}",
            "{\"x\":\"/data/2.5/weather?appid=abc%2Bdef%2Fghi%3Djkl0123\"}",
            "{\"x\":\"abc+def\\/ghi=jkl0123\"}",
            "%61bc%2bdef%2fghi=jkl0123",
        ] {
            assert!(repeats(body.as_bytes(), key), "{body}");
        }
        assert!(!repeats(b"{\"x\":\"abc%2Bdef and 100 % more\\n\"}", key));
        assert!(!repeats(b"a short one", "short"), "by chance");
    }
}
