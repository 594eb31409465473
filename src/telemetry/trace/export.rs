//! Spans on their way to the collector: OTLP over HTTP, protobuf, from a thread of its own.
//!
//! A collector that is away, slow or hostile costs spans, never answers: so many wait, so long is waited for it, so much of
//! what it says is read. It is not asked twice for the same spans.

use std::error::Error;
use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::{Context, KeyValue};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, Span, SpanData, SpanExporter, SpanLimits,
    SpanProcessor,
};
use prost::Message;
use reqwest::StatusCode;
use reqwest::blocking::{Client, Response};
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use url::Url;

use super::TraceCounts;

/// Spans that wait at most: a few MB.
const WAITING: usize = 2_048;
/// Spans that are sent together at most.
const BATCH: usize = 512;
/// How long the first of them waits for others.
const GATHER: Duration = Duration::from_secs(2);
/// For TCP and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// For the collector's answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What is read of its body: that spans were refused fits in.
const BODY: u64 = 4_096;
/// A collector that comes and goes is told no more often.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// Why the collector does not have the spans, for an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// No connection, or one that ended early.
    #[error("cannot be reached")]
    Away,
    /// No answer in time.
    #[error("does not answer in time")]
    Slow,
    /// It does not take them.
    #[error("answers with status {0}")]
    Status(u16),
}

/// Starts the thread. Not on one of a runtime.
pub(super) fn start(endpoint: &Url, counts: TraceCounts) -> io::Result<SdkTracerProvider> {
    let collector = Collector::new(endpoint)?;
    let waiting = Arc::new(AtomicUsize::new(0));
    let resource = resource();
    let exporter = Exporter {
        collector,
        resource: (&resource).into(),
        waiting: Arc::clone(&waiting),
        counts: counts.clone(),
        told: Mutex::new(Told::default()),
    };
    // All of them said here: what is not is taken from variables of the environment.
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(WAITING)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(GATHER)
        .build();
    let inner = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    Ok(SdkTracerProvider::builder()
        .with_span_processor(Bounded { inner, waiting, counts })
        // What gets here is to be traced: that was decided when the request began.
        .with_sampler(Sampler::AlwaysOn)
        .with_span_limits(SpanLimits::default())
        .with_resource(resource)
        .build())
}

/// Who we are, to the collector: nothing about the machine or who runs it.
fn resource() -> Resource {
    let random = fastrand::u128(..);
    // A UUID of version 4 (RFC 9562), as OpenTelemetry's conventions have it.
    let id = random & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{id:032x}");
    let id = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
    Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", "stratus"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", id),
        ])
        .build()
}

/// The other end.
#[derive(Debug)]
struct Collector {
    client: Client,
    url: Url,
}

impl Collector {
    fn new(endpoint: &Url) -> io::Result<Self> {
        let mut url = endpoint.clone();
        // As the specification of OTLP has it, the endpoint may have a path of its own.
        let path = format!("{}/v1/traces", endpoint.path().trim_end_matches('/'));
        url.set_path(&path);
        let client = Client::builder()
            .user_agent(concat!("stratus/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .pool_max_idle_per_host(1)
            // Whoever is asked is who was named, and nobody else.
            .redirect(Policy::none())
            .referer(false)
            .no_proxy()
            .no_gzip()
            .https_only(url.scheme() == "https")
            .build()
            .map_err(|_| io::Error::other("the system's certificate store is not usable"))?;
        Ok(Self { client, url })
    }

    /// Gives it these spans; how many of them it refuses.
    fn send(&self, body: Vec<u8>) -> Result<usize, Unreachable> {
        let sent = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/x-protobuf").body(body).send();
        let response = sent.map_err(|error| if is_timeout(&error) { Unreachable::Slow } else { Unreachable::Away })?;
        let status = response.status();
        if !status.is_success() {
            return Err(Unreachable::Status(status.as_u16()));
        }
        let said = if status == StatusCode::OK { read(response) } else { Vec::new() };
        let said = ExportTraceServiceResponse::decode(said.as_slice()).ok().and_then(|said| said.partial_success);
        Ok(said.map_or(0, |said| usize::try_from(said.rejected_spans).unwrap_or_default()))
    }
}

fn is_timeout(error: &reqwest::Error) -> bool {
    let io_timeout = |error: &(dyn Error + 'static)| {
        error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
    };
    error.is_timeout() || error.source().is_some_and(io_timeout)
}

/// As much of the body as counts; nothing of one that is longer, or does not come in time.
fn read(response: Response) -> Vec<u8> {
    let (mut response, began) = (response.take(BODY + 1), Instant::now());
    let (mut body, mut part) = (Vec::new(), [0; 512]);
    loop {
        match response.read(&mut part) {
            Ok(0) if body.len() as u64 <= BODY => return body,
            Ok(read) if read > 0 && began.elapsed() < TIMEOUT => body.extend_from_slice(&part[..read]),
            _ => return Vec::new(),
        }
    }
}

/// Whether the collector takes traces: sends it none, which is a request like any other. For `stratus check`.
///
/// # Errors
/// It does not.
pub async fn examine(config: &super::TraceConfig) -> Result<(), Unreachable> {
    let endpoint = config.endpoint.clone();
    let examined = tokio::task::spawn_blocking(move || {
        let collector = Collector::new(&endpoint).map_err(|_| Unreachable::Away)?;
        collector.send(ExportTraceServiceRequest::default().encode_to_vec()).map(drop)
    });
    examined.await.unwrap_or(Err(Unreachable::Away))
}

/// Lets no more spans wait than may, and counts those that may not.
#[derive(Debug)]
struct Bounded {
    inner: BatchSpanProcessor,
    waiting: Arc<AtomicUsize>,
    counts: TraceCounts,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) < WAITING {
            self.inner.on_end(span);
        } else {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.counts.add("dropped", 1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Sends batches, and tells the operator when that begins or ceases to fail.
#[derive(Debug)]
struct Exporter {
    collector: Collector,
    resource: ResourceAttributesWithSchema,
    waiting: Arc<AtomicUsize>,
    counts: TraceCounts,
    told: Mutex<Told>,
}

/// What the operator knows.
#[derive(Debug, Default)]
struct Told {
    failing: bool,
    at: Option<Instant>,
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let resource_spans = group_spans_by_resource_and_scope(batch, &self.resource);
        let sent = self.collector.send(ExportTraceServiceRequest { resource_spans }.encode_to_vec());
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
        match &sent {
            Ok(refused) => {
                let refused = spans.min(*refused);
                self.counts.add("delivered", spans - refused);
                if refused > 0 {
                    self.counts.add("refused", refused);
                }
            }
            Err(_) => self.counts.add("failed", spans),
        }
        self.told.lock().unwrap_or_else(PoisonError::into_inner).tell(sent.as_ref().err(), Instant::now());
        sent.map(drop).map_err(|error| OTelSdkError::InternalFailure(error.to_string()))
    }
}

impl Told {
    /// One line when it changes, not one for each batch, nor one for each change of a collector that comes and goes.
    fn tell(&mut self, error: Option<&Unreachable>, now: Instant) {
        match error {
            Some(error) if !self.failing && self.at.is_none_or(|at| now.duration_since(at) >= TELL_AGAIN) => {
                (self.failing, self.at) = (true, Some(now));
                tracing::warn!(
                    "traces are lost: the collector at telemetry.otlp_endpoint {error}. Requests are answered all the \
                     same; `stratus check` looks at it again"
                );
            }
            None if self.failing => {
                self.failing = false;
                tracing::info!("the collector at telemetry.otlp_endpoint takes traces again");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::{Tracer, TracerProvider};

    #[test]
    fn traces_go_below_the_path_of_the_endpoint() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        for (endpoint, expected) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
            ("https://collector.example/otlp", "https://collector.example/otlp/v1/traces"),
            ("https://collector.example/otlp/", "https://collector.example/otlp/v1/traces"),
        ] {
            let collector = Collector::new(&Url::parse(endpoint).unwrap()).unwrap();
            assert_eq!(collector.url.as_str(), expected);
        }
    }

    #[test]
    fn no_more_spans_wait_for_a_collector_that_hangs_than_may() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Nobody accepts what the system has accepted.
        let collector = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Url::parse(&format!("http://{}", collector.local_addr().unwrap())).unwrap();
        let counts = TraceCounts::default();
        let provider = start(&endpoint, counts.clone()).unwrap();
        let tracer = provider.tracer("test");
        let spans = WAITING as u64 + 1_000;
        for _ in 0..spans {
            drop(tracer.start("span"));
        }
        // Fewer, were a batch given up meanwhile.
        let (dropped, failed) = (counts.of("dropped"), counts.of("failed"));
        assert_eq!((counts.of("delivered"), dropped + failed.min(1_000) >= 1_000), (0, true), "{dropped}, {failed}");
        assert!(spans - dropped - failed <= WAITING as u64);
        assert!(provider.shutdown_with_timeout(Duration::from_millis(10)).is_err(), "it is not waited for any longer");
    }

    #[test]
    fn a_collector_that_comes_and_goes_is_told_once_a_minute() {
        let (mut told, began) = (Told::default(), Instant::now());
        told.tell(Some(&Unreachable::Away), began);
        assert!(told.failing);
        told.tell(None, began);
        told.tell(Some(&Unreachable::Away), began + TELL_AGAIN / 2);
        assert!(!told.failing, "nobody was told");
        told.tell(Some(&Unreachable::Slow), began + TELL_AGAIN);
        assert!(told.failing);
    }

    #[test]
    fn every_process_has_another_id_that_is_a_uuid() {
        let id = || resource().get(&"service.instance.id".into()).unwrap().to_string();
        let (one, other) = (id(), id());
        assert_ne!(one, other);
        let pattern =
            regex::Regex::new("^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$").unwrap();
        assert!(pattern.is_match(&one), "{one}");
    }
}
