//! A collector of OpenTelemetry as the service meets it: OTLP over HTTP on a raw socket, because it must be able to
//! misbehave.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{Span, status};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::harness::PATIENCE;
use crate::harness::proxy::locked;

/// What it does with a request.
#[derive(Debug, Clone)]
pub(super) enum Manner {
    /// Takes all spans.
    Takes,
    /// Takes all but so many.
    Refuses(i64),
    /// Answers with this status.
    Status(u16),
    /// Does not answer.
    Hangs,
    /// Answers well and goes on for as long as anybody reads.
    Endless,
    /// Says that another address would be better.
    Redirects(String),
}

/// What has come in.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// Heads and bodies, one after the other.
    pub(super) bytes: Vec<u8>,
    pub(super) heads: Vec<String>,
    pub(super) requests: Vec<ExportTraceServiceRequest>,
}

/// The collector; it ends when it is dropped.
pub(super) struct Collector {
    port: u16,
    received: watch::Receiver<Received>,
    manner: Arc<Mutex<Manner>>,
    serving: JoinHandle<()>,
}

impl Collector {
    pub(super) async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (sender, received) = watch::channel(Received::default());
        let manner = Arc::new(Mutex::new(manner));
        let (sender, how) = (Arc::new(sender), Arc::clone(&manner));
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&sender), Arc::clone(&how)));
            }
        });
        Self { port, received, manner, serving }
    }

    /// The base address, as an operator gives it.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(super) fn behave(&self, manner: Manner) {
        *locked(&self.manner) = manner;
    }

    /// How many requests have come in.
    pub(super) fn requests(&self) -> usize {
        self.received.borrow().requests.len()
    }

    /// Waits for so many requests.
    pub(super) async fn wait_for_requests(&self, requests: usize) {
        let mut received = self.received.clone();
        let come = received.wait_for(|received| received.requests.len() >= requests);
        assert!(timeout(PATIENCE, come).await.is_ok_and(|come| come.is_ok()), "{} of {requests}", self.requests());
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.received.borrow().bytes.clone()
    }

    pub(super) fn heads(&self) -> Vec<String> {
        self.received.borrow().heads.clone()
    }

    /// What each request says of who sends it.
    pub(super) fn resources(&self) -> Vec<BTreeMap<String, String>> {
        let received = self.received.borrow();
        let all = received.requests.iter().flat_map(|request| &request.resource_spans);
        all.map(|spans| attributes(&spans.resource.as_ref().expect("a resource").attributes)).collect()
    }

    /// All spans that have come in.
    pub(super) fn spans(&self) -> Vec<Seen> {
        let received = self.received.borrow();
        let all = received.requests.iter().flat_map(|request| &request.resource_spans);
        all.flat_map(|spans| &spans.scope_spans).flat_map(|spans| &spans.spans).map(Seen::of).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A span, for reading.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) name: String,
    pub(super) kind: SpanKind,
    pub(super) trace: String,
    pub(super) id: String,
    /// Empty if it has none.
    pub(super) parent: String,
    /// Trace and span of each.
    pub(super) links: Vec<(String, String)>,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) failed: bool,
}

impl Seen {
    fn of(span: &Span) -> Self {
        let status = span.status.as_ref().expect("a status");
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{span:?}");
        assert!(span.events.is_empty() && span.trace_state.is_empty() && status.message.is_empty(), "{span:?}");
        Self {
            name: span.name.clone(),
            kind: span.kind(),
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
            attributes: attributes(&span.attributes),
            failed: status.code() == status::StatusCode::Error,
        }
    }

    pub(super) fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attributes(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        value => panic!("neither a word nor a number: {value:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
}

/// Serves one connection until the client leaves or it is left hanging.
async fn serve(mut stream: TcpStream, sender: Arc<watch::Sender<Received>>, manner: Arc<Mutex<Manner>>) {
    let mut bytes = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut bytes).await.unwrap_or_default() == 0 {
                return;
            }
        };
        let head = String::from_utf8(bytes[..end].to_vec()).expect("a head in ASCII");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        let length: usize = length.parse().expect("a number");
        while bytes.len() < end + length {
            if stream.read_buf(&mut bytes).await.unwrap_or_default() == 0 {
                return;
            }
        }
        let request: Vec<_> = bytes.drain(..end + length).collect();
        let decoded = ExportTraceServiceRequest::decode(&request[end..]).expect("protobuf");
        sender.send_modify(|received| {
            received.bytes.extend_from_slice(&request);
            received.heads.push(head);
            received.requests.push(decoded);
        });
        let manner = locked(&manner).clone();
        if answer(&mut stream, manner).await.is_none() {
            return;
        }
    }
}

/// `None` if the connection is of no use any more.
async fn answer(stream: &mut TcpStream, manner: Manner) -> Option<()> {
    let (status, header, body) = match manner {
        Manner::Takes => (200, String::new(), Vec::new()),
        Manner::Refuses(rejected_spans) => {
            let partial = ExportTracePartialSuccess { rejected_spans, error_message: "no room".to_owned() };
            (200, String::new(), ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec())
        }
        Manner::Status(status) => (status, String::new(), b"the collector's own words".to_vec()),
        Manner::Redirects(to) => (307, format!("location: {to}\r\n"), Vec::new()),
        Manner::Hangs => {
            // Until the client leaves.
            while stream.read(&mut [0; 1_024]).await.unwrap_or_default() > 0 {}
            return None;
        }
        Manner::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.ok()?;
            loop {
                stream.write_all(format!("10000\r\n{}\r\n", "x".repeat(0x1_0000)).as_bytes()).await.ok()?;
            }
        }
    };
    let head = format!("HTTP/1.1 {status} X\r\n{header}content-length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), &body].concat()).await.ok()
}
