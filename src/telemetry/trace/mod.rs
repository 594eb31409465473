//! Traces, by OTLP, if `telemetry.otlp_endpoint` names a collector.
//!
//! Spans are made where something is done, by what is written here and by nothing else: no library's spans or events get
//! in. Names and values of attributes are words of this program, numbers and flags, by their types; the host that is called
//! is the one text. So there is no way in for a place, a key or anything else that somebody has sent.
//!
//! What is traced is decided once, when a request begins (`rate`, `parent`). The spans below it follow: each is a child of
//! the one that is under way in its task. Of a request that is not traced there are no spans at all.

mod export;
mod parent;
mod rate;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrayvec::ArrayString;
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, TraceId, Tracer, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio::task::futures::TaskLocalFuture;
use url::Url;

pub use export::{Unreachable, examine};
use parent::Parent;
use rate::Rate;

use super::TraceCounts;

/// How long the end of the process waits for the last spans to be delivered.
const LAST_SPANS: Duration = Duration::from_secs(1);

/// What a trace calls the ways in which a question was answered, and the failures.
const RESULT: &str = "stratus.cache.result";

/// Where traces go.
#[derive(Debug, Clone)]
pub struct TraceConfig {
    /// The collector, without the path for traces.
    pub endpoint: Url,
}

/// Makes traces, or none. Clones are the same.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<On>>);

struct On {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
    /// Requests that begin a trace here, and those whose callers want theirs continued: apart, so that neither can take the
    /// place of the other.
    ours: Rate,
    callers: Rate,
}

impl Traces {
    /// Starts the thread that delivers them; calls nobody yet.
    ///
    /// # Errors
    /// The system's certificate authorities cannot be used, or it gives no thread.
    pub async fn start(config: &TraceConfig, counts: TraceCounts) -> io::Result<Self> {
        let endpoint = config.endpoint.clone();
        // A client that blocks can neither be made nor dropped on a thread of the runtime.
        let started = tokio::task::spawn_blocking(move || export::start(&endpoint, counts)).await;
        let provider = started.map_err(io::Error::other)??;
        let tracer = provider.tracer("stratus");
        Ok(Self(Some(Arc::new(On { tracer, provider, ours: Rate::new(), callers: Rate::new() }))))
    }

    /// The span of a request that has just begun. `traceparent` gives the header, if there is exactly one of it.
    pub fn request<'a>(
        &self,
        method: &'static str,
        route: &'static str,
        traceparent: impl FnOnce() -> Option<&'a str>,
    ) -> Span {
        let Some(on) = &self.0 else { return Span::NONE };
        let parent = match traceparent().and_then(Parent::parse) {
            None if on.ours.take() => SpanContext::NONE,
            None => return Span::NONE,
            Some(parent) if parent.is_sampled() && on.callers.take() => parent.context(),
            Some(parent) => return Span(State::Unsampled(parent.trace_id())),
        };
        // OpenTelemetry's word for methods that nobody knows.
        let method = if method == "other" { "_OTHER" } else { method };
        let name = format!("{} {route}", if method == "_OTHER" { "HTTP" } else { method });
        let attributes = vec![KeyValue::new("http.request.method", method), KeyValue::new("http.route", route)];
        let builder = SpanBuilder::from_name(name).with_kind(SpanKind::Server).with_attributes(attributes);
        Span::begin(&on.tracer, builder, parent)
    }

    /// Delivers the last spans, as far as that takes no longer than a second. There are none after it.
    pub async fn shut_down(&self) {
        let Some(on) = self.0.clone() else { return };
        // That the time was not enough is counted by nobody: the process ends.
        let _ = tokio::task::spawn_blocking(move || on.provider.shutdown_with_timeout(LAST_SPANS)).await;
    }
}

/// A span under way, or none. It ends when the last of its clones is dropped, if not before.
#[derive(Clone)]
pub struct Span(State);

#[derive(Clone)]
enum State {
    None,
    /// The caller has a trace which we add nothing to.
    Unsampled(TraceId),
    Sampled(Arc<Sampled>),
}

struct Sampled {
    span: Mutex<opentelemetry_sdk::trace::Span>,
    context: SpanContext,
    tracer: SdkTracer,
}

/// What another span can link to.
#[derive(Debug, Clone)]
pub struct Link(Option<SpanContext>);

/// The value of an attribute: nothing that somebody has sent.
#[derive(Debug, Clone, Copy)]
pub enum Value {
    /// One of a few words.
    Word(&'static str),
    /// A number.
    Number(i64),
}

impl From<&'static str> for Value {
    fn from(word: &'static str) -> Self {
        Self::Word(word)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(i64::from(number))
    }
}

impl From<Value> for opentelemetry::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Word(word) => word.into(),
            Value::Number(number) => number.into(),
        }
    }
}

tokio::task_local! {
    /// The span that is under way in this task.
    static CURRENT: Span;
}

/// The span that is under way in this task.
pub fn current() -> Span {
    CURRENT.try_with(Span::clone).unwrap_or(Span::NONE)
}

/// Begins a span below the one that is under way in this task.
pub fn child(name: &'static str) -> Span {
    current().child(SpanBuilder::from_name(name))
}

/// Begins a trace of its own for what goes on when the request that began it has its answer, and links it to that.
pub fn behind(name: &'static str) -> Span {
    let State::Sampled(begun_by) = current().0 else { return Span::NONE };
    let link = opentelemetry::trace::Link::with_context(begun_by.context.clone());
    Span::begin(&begun_by.tracer, SpanBuilder::from_name(name).with_links(vec![link]), SpanContext::NONE)
}

/// Begins the span of a command of the store, which is of this `kind`.
pub fn command(name: &'static str, kind: &'static str, command: &'static str) -> Span {
    let builder = SpanBuilder::from_name(name);
    if kind != "redis" {
        return current().child(builder);
    }
    let attributes = vec![KeyValue::new("db.system.name", kind), KeyValue::new("db.operation.name", command)];
    current().child(builder.with_kind(SpanKind::Client).with_attributes(attributes))
}

/// Begins the span of a call to the upstream, on the host of `url`: of that the host and the port are told, no more.
/// `template` is the path that all questions of this kind have in common.
pub fn call(url: &Url, template: &'static str) -> Span {
    let current = current();
    if !current.is_sampled() {
        return Span::NONE;
    }
    let mut attributes = vec![
        KeyValue::new("http.request.method", "GET"),
        KeyValue::new("server.address", url.host_str().unwrap_or_default().to_owned()),
        KeyValue::new("url.template", template),
    ];
    attributes.extend(url.port_or_known_default().map(|port| KeyValue::new("server.port", i64::from(port))));
    current.child(SpanBuilder::from_name("GET").with_kind(SpanKind::Client).with_attributes(attributes))
}

impl Span {
    /// None.
    pub const NONE: Self = Self(State::None);

    fn begin(tracer: &SdkTracer, builder: SpanBuilder, parent: SpanContext) -> Self {
        let span = tracer.build_with_context(builder, &Context::new().with_remote_span_context(parent));
        let context = span.span_context().clone();
        if !context.is_sampled() {
            // The service is about to end.
            return Self::NONE;
        }
        Self(State::Sampled(Arc::new(Sampled { span: Mutex::new(span), context, tracer: tracer.clone() })))
    }

    fn child(&self, builder: SpanBuilder) -> Self {
        match &self.0 {
            State::Sampled(parent) => Self::begin(&parent.tracer, builder, parent.context.clone()),
            State::None | State::Unsampled(_) => Self::NONE,
        }
    }

    /// Whether there is one.
    pub fn is_sampled(&self) -> bool {
        matches!(self.0, State::Sampled(_))
    }

    fn change(&self, change: impl FnOnce(&mut opentelemetry_sdk::trace::Span)) {
        if let State::Sampled(sampled) = &self.0 {
            change(&mut sampled.span.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Says something about it.
    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        self.change(|span| span.set_attribute(KeyValue::new(key, value.into())));
    }

    /// How a question was answered, and from how old a record.
    pub fn set_result(&self, result: &'static str, age: Option<Duration>) {
        self.set(RESULT, result);
        if let Some(age) = age {
            self.set("stratus.cache.age_secs", age.as_secs());
        }
    }

    /// It failed, for this reason.
    pub fn fail(&self, reason: &'static str) {
        self.change(|span| {
            span.set_attribute(KeyValue::new("error.type", reason));
            span.set_status(Status::error(""));
        });
    }

    /// The request was answered with this status; `code` is that of an error.
    pub fn answered(&self, status: u16, code: Option<&'static str>) {
        if !self.is_sampled() {
            return;
        }
        self.set("http.response.status_code", status);
        match code {
            // Of a server's span a caller's mistake is no error (OpenTelemetry's conventions for HTTP).
            Some(code) if status < 500 => self.set("stratus.problem", code),
            Some(code) => self.fail(code),
            None => {}
        }
        self.change(opentelemetry_sdk::trace::Span::end);
    }

    /// For linking to it later.
    pub fn link(&self) -> Link {
        match &self.0 {
            State::Sampled(sampled) => Link(Some(sampled.context.clone())),
            State::None | State::Unsampled(_) => Link(None),
        }
    }

    /// Something that several share has answered it, too.
    pub fn follow(&self, Link(shared): &Link) {
        if let Some(shared) = shared {
            self.change(|span| span.add_link(shared.clone(), Vec::new()));
        }
    }

    /// Does `work` with this as the span that is under way.
    pub fn during<F: Future>(self, work: F) -> TaskLocalFuture<Span, F> {
        CURRENT.scope(self, work)
    }

    /// The same for what does not wait.
    pub fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        if self.is_sampled() { CURRENT.sync_scope(self.clone(), work) } else { work() }
    }

    /// The id of its trace, as the log has it; the caller's, too, of a trace that we add nothing to.
    pub fn trace_id(&self) -> Option<ArrayString<32>> {
        let id = match &self.0 {
            State::None => return None,
            State::Unsampled(id) => *id,
            State::Sampled(sampled) => sampled.context.trace_id(),
        };
        let mut text = ArrayString::new();
        std::fmt::Write::write_fmt(&mut text, format_args!("{id}")).ok()?;
        Some(text)
    }

    /// The header that has the one who is called continue the trace (W3C Trace Context, section 3.2). What a caller may have
    /// said beside it, in `tracestate` or `baggage`, is not passed on to anybody.
    pub fn traceparent(&self) -> Option<String> {
        match &self.0 {
            State::Sampled(sampled) => Some(parent::write(&sampled.context)),
            State::None | State::Unsampled(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_collector_there_is_no_span_and_no_header_is_looked_at() {
        let span = Traces::default().request("GET", "/weather/{location}", || panic!("nobody asks for it"));
        assert!(!span.is_sampled());
        assert_eq!((span.traceparent(), span.trace_id()), (None, None));
        assert!(!span.enter(|| child("cache.lookup")).is_sampled());
    }
}
