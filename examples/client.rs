//! Prints the weather of a place: `cargo run --example client -- London`
//!
//! `STRATUS_URL` says where the service is (`http://localhost:3000`), `STRATUS_KEY` is a consumer key, if one is needed.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the weather is the purpose")]

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use reqwest::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;

/// For one request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A longer `Retry-After` is not waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no weather.
#[derive(Debug, thiserror::Error)]
enum StratusError {
    /// As the service says it (RFC 9457).
    #[error("{}", .0.detail)]
    Problem(Problem),
    #[error("the service cannot be reached: {0}")]
    Transport(#[from] reqwest::Error),
    #[error("that is no address of a service")]
    Address,
}

/// Its `code`, which is left out here, never changes: programs can compare it.
#[derive(Debug, Deserialize)]
struct Problem {
    detail: String,
}

/// OpenWeatherMap's answer, how it came about (`HIT`, `MISS`, `STALE`), and for how many seconds it is fresh.
struct Answer {
    body: Value,
    cache: String,
    fresh_secs: u64,
}

/// Keeps the last answer to each address, so that one that has not changed is not sent again.
struct Stratus {
    base: Url,
    key: Option<String>,
    client: Client,
    known: HashMap<Url, (String, Value)>,
}

impl Stratus {
    fn new(base: &str, key: Option<String>) -> Result<Self, StratusError> {
        let base = Url::parse(base).map_err(|_| StratusError::Address)?;
        let client = Client::builder().timeout(TIMEOUT).build()?;
        Ok(Self { base, key, client, known: HashMap::new() })
    }

    /// The weather of now: `London`, `London,GB`, `51.51,-0.13`, `id:2643743`, `zip:94040,US`.
    async fn weather(&mut self, place: &str) -> Result<Answer, StratusError> {
        let mut url = self.base.clone();
        url.path_segments_mut().map_err(|()| StratusError::Address)?.pop_if_empty().extend(["weather", place]);
        let mut response = self.ask(&url).await?;
        if let Some(wait) = retry_after(&response).filter(|wait| *wait <= PATIENCE) {
            tokio::time::sleep(wait).await;
            response = self.ask(&url).await?;
        }
        self.read(url, response).await
    }

    async fn ask(&self, url: &Url) -> Result<Response, StratusError> {
        let mut request = self.client.get(url.clone());
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        if let Some((etag, _)) = self.known.get(url) {
            // The service answers 304 without a body if we have the latest already.
            request = request.header(IF_NONE_MATCH, etag);
        }
        Ok(request.send().await?)
    }

    async fn read(&mut self, url: Url, response: Response) -> Result<Answer, StratusError> {
        let header =
            |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (etag, cache) = (header(ETAG.as_str()).to_owned(), header("x-cache").to_owned());
        let max_age = header(CACHE_CONTROL.as_str()).split(", ").find_map(|said| said.strip_prefix("max-age="));
        let fresh_secs = max_age.and_then(|secs| secs.parse().ok()).unwrap_or(0);
        let body = match (response.status(), self.known.get(&url)) {
            (StatusCode::NOT_MODIFIED, Some((_, body))) => body.clone(),
            (StatusCode::OK, _) => response.json().await?,
            _ => return Err(StratusError::Problem(response.json().await?)),
        };
        self.known.insert(url, (etag, body.clone()));
        Ok(Answer { body, cache, fresh_secs })
    }
}

/// How long to wait before asking again, if the service says so.
fn retry_after(response: &Response) -> Option<Duration> {
    let secs = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(secs))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // Only because reqwest is built without a provider of TLS here; with its default features this line is not needed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let place = std::env::args().nth(1).unwrap_or_else(|| "London".to_owned());
    let base = std::env::var("STRATUS_URL").unwrap_or_else(|_| "http://localhost:3000".to_owned());
    match weather(&base, &place).await {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn weather(base: &str, place: &str) -> Result<String, StratusError> {
    let Answer { body, cache, fresh_secs } =
        Stratus::new(base, std::env::var("STRATUS_KEY").ok())?.weather(place).await?;
    let name = body["name"].as_str().filter(|name| !name.is_empty()).unwrap_or(place);
    let (degrees, sky) = (body["main"]["temp"].as_f64(), body["weather"][0]["description"].as_str());
    let (degrees, sky) = (degrees.unwrap_or(f64::NAN), sky.unwrap_or_default());
    Ok(format!("{name}: {degrees:.1} °C, {sky} ({cache}, {fresh_secs} s fresh)"))
}
