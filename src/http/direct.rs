//! The short way of the data routes: a plain `GET` or `HEAD` of a place is answered here, without routing and layers, and
//! if memory has the answer, without waiting or a task. Whatever is odd or wrong about a request goes the long way
//! through the router, whose handler gives the same answers with the same headers.

use std::borrow::Cow;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, CONTENT_LENGTH, ORIGIN, TRANSFER_ENCODING, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use axum::response::Response;
use axum::{BoxError, Router};
use futures_util::FutureExt;
use futures_util::future::Either;
use tower::Service;

use super::card::{self, Form};
use super::forward::{Addressee, ForwardProxy};
use super::guard::{
    Admission, Admitted, Asker, Guard, Peer, RATELIMIT, RATELIMIT_POLICY, Rejected, appid, vary_by_key,
};
use super::observe::{Asked, Observation, Observers, Told, X_REQUEST_ID, method, request_id, traceparent, with_body};
use super::openweathermap::{self, Dialect};
use super::{EXPOSED, Overload, answer};
use crate::cache::{Answer, Cache, GetError};
use crate::telemetry::{Metrics, Span, Traces};
use crate::weather::{Endpoint, Query, Shape, WEATHER};

/// An answer at once, or later.
pub(super) type Answering =
    Either<Ready<Result<Response, Infallible>>, Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>>;

/// All that a listener answers with.
pub struct Routes {
    direct: Option<Arc<Direct>>,
    router: Router,
    /// `None`: what host a request names does not matter.
    forward_proxy: Option<ForwardProxy>,
}

/// Routes without a short way, whoever a request says it is for.
impl From<Router> for Routes {
    fn from(router: Router) -> Self {
        Self { direct: None, router, forward_proxy: None }
    }
}

impl Routes {
    pub(super) fn new(router: Router, direct: Direct, forward_proxy: ForwardProxy) -> Self {
        Self { direct: Some(Arc::new(direct)), router, forward_proxy: Some(forward_proxy) }
    }

    /// Answers; what has to wait holds what `held` gives until its answer, and is refused if that is nothing.
    pub(super) fn answer<B, T>(
        &self,
        mut request: Request<B>,
        peer: IpAddr,
        held: impl FnOnce() -> Option<T>,
    ) -> Answering
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
        T: Send + 'static,
    {
        if let Some(target) = openweathermap::with_single_slashes(request.uri()) {
            *request.uri_mut() = target;
        }
        let addressee = match (request.uri().authority(), &self.forward_proxy) {
            (Some(authority), Some(forward_proxy)) => forward_proxy.addressee(&request, authority),
            _ => Addressee::Us,
        };
        if let Some(direct) = &self.direct
            && !matches!(addressee, Addressee::Refused(_))
            // A fault of ours must not cost the caller the connection: the other ways of answering tell it.
            && let Some(question) = catch_unwind(AssertUnwindSafe(|| direct.question(&request))).unwrap_or_default()
        {
            let decided = catch_unwind(AssertUnwindSafe(|| direct.at_once(&question, peer, request.headers())));
            let admission = match decided {
                Ok(Decided::Answer(response)) => return Either::Left(ready(Ok(*response))),
                Ok(Decided::Load(admission)) => admission,
                Err(_) => return Either::Left(ready(Ok(direct.break_down(question.asked(request.headers()))))),
            };
            let Some(held) = held() else {
                return Either::Left(ready(Ok(direct.turn_away(admission, question.asked(request.headers())))));
            };
            let direct = Arc::clone(direct);
            // The body, which nobody reads, goes now.
            let headers = request.into_parts().0.headers;
            return Either::Right(Box::pin(async move {
                let _held = held;
                Ok(direct.wait(question, admission, headers).await)
            }));
        }
        let (mut router, held) = (self.router.clone(), held());
        request.extensions_mut().insert(Peer(peer));
        addressee.note(request.extensions_mut());
        if held.is_none() {
            request.extensions_mut().insert(Overload);
        }
        let answer = router.call(request.map(Body::new));
        Either::Right(Box::pin(async move {
            let _held = held;
            let mut response = answer.await?;
            // To a HEAD, axum gives the length of what it holds: none here, which is not that of the body that the caller
            // has (RFC 9110, section 8.6).
            if response.status() == StatusCode::NOT_MODIFIED {
                response.headers_mut().remove(CONTENT_LENGTH);
            }
            Ok(response)
        }))
    }
}

/// What can be said without waiting.
enum Decided {
    /// The answer.
    Answer(Box<Response>),
    /// It has to be waited for, by somebody who may or has yet to be let in.
    Load(Admission),
}

/// Answers plain questions.
pub(super) struct Direct {
    guard: Arc<Guard>,
    cache: Cache,
    metrics: Arc<Metrics>,
    traces: Traces,
    own: Headers,
    openweathermap: Headers,
    /// The constant ones of our own path of the weather, which is answered in two forms.
    weather: HeaderMap,
    any_origin: bool,
}

/// What is the same in many answers.
struct Headers {
    /// The headers of every answer: what pages of other origins may read, what browsers may make of it.
    always: HeaderMap,
    /// The headers of every answer with weather, those with the same value for whoever asks already with it.
    constant: HeaderMap,
}

impl Headers {
    fn new(always: HeaderMap) -> Self {
        let mut constant = answer::constant_headers();
        constant.extend(always.clone());
        // What nearly every answer has gets its place now: a map that grows costs more than one whose values are replaced.
        for varying in [X_REQUEST_ID, RATELIMIT_POLICY, RATELIMIT] {
            constant.insert(varying, HeaderValue::from_static(""));
        }
        Self { always, constant }
    }
}

/// A plain question, read.
struct Question {
    began: Instant,
    method: &'static str,
    route: &'static str,
    dialect: Dialect,
    query: Query,
    form: Form,
    /// The key in the parameters, on OpenWeatherMap's paths.
    appid: Option<String>,
    span: Span,
}

impl Question {
    fn asked(&self, headers: &HeaderMap) -> Asked {
        let Self { began, method, route, dialect, form, .. } = *self;
        let (format, span) = (form.format(), self.span.clone());
        Asked { began, method, route, dialect, format, id: request_id(headers), span }
    }
}

impl Direct {
    /// `always` are the headers of every answer, whoever asks for what.
    pub(super) fn new(
        guard: Arc<Guard>,
        cache: Cache,
        observers: Observers,
        any_origin: bool,
        mut always: HeaderMap,
    ) -> Self {
        let exposed: Vec<_> = EXPOSED.iter().map(|name| name.as_str().to_owned()).collect();
        // Of header names, which are all visible ASCII.
        always
            .extend(HeaderValue::try_from(exposed.join(",")).ok().map(|names| (ACCESS_CONTROL_EXPOSE_HEADERS, names)));
        if any_origin {
            always.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        } else {
            always.insert(VARY, HeaderValue::from_static("origin"));
        }
        if guard.requires_key() {
            vary_by_key(&mut always);
        }
        answer::vary_in_one_line(&mut always);
        let mut theirs = always.clone();
        if any_origin {
            theirs.extend(openweathermap::CORS);
        }
        let (own, openweathermap) = (Headers::new(always), Headers::new(theirs));
        let Observers { metrics, traces } = observers;
        let mut weather = own.constant.clone();
        card::vary(WEATHER, &mut weather);
        answer::vary_in_one_line(&mut weather);
        Self { guard, cache, metrics, traces, own, openweathermap, weather, any_origin }
    }

    fn headers(&self, dialect: Dialect) -> &Headers {
        match dialect {
            Dialect::Own => &self.own,
            Dialect::OpenWeatherMap => &self.openweathermap,
        }
    }

    /// The headers of the answer to this question that do not depend on the answer.
    fn constant(&self, question: &Question) -> HeaderMap {
        match question.dialect {
            Dialect::Own if question.query.endpoint() == WEATHER => self.weather.clone(),
            dialect => self.headers(dialect).constant.clone(),
        }
    }

    /// The question, if nothing about it is odd.
    fn question<B>(&self, request: &Request<B>) -> Option<Question> {
        let uri = request.uri();
        let (path, parameters) = (uri.path(), uri.query().unwrap_or_default());
        let headers = request.headers();
        let plain = matches!(*request.method(), Method::GET | Method::HEAD)
            && !headers.contains_key(CONTENT_LENGTH)
            && !headers.contains_key(TRANSFER_ENCODING)
            // Which origin may read the answer is for the router's CORS layer to say.
            && (self.any_origin || !headers.contains_key(ORIGIN));
        if !plain {
            return None;
        }
        let (began, method, dialect) = (Instant::now(), method(request.method()), Dialect::of(path));
        let (route, query, form) = match dialect {
            Dialect::Own => {
                let (endpoint, segment) = Endpoint::own_at(path)?;
                let query = Query::own(endpoint, segment, parameters).ok()?;
                let form = Form::new(card::format(endpoint, parameters, headers), &query);
                (endpoint.own?, query, form)
            }
            Dialect::OpenWeatherMap => {
                // Pages are made for each caller: their links lead to where it came from. Images are not for everybody.
                let plain = |endpoint: &&Endpoint| !matches!(endpoint.shape, Shape::Pages | Shape::Png);
                let endpoint = Endpoint::at(path).filter(plain)?;
                (endpoint.paths[0], Query::openweathermap(endpoint, parameters).ok()?, Form::Sent)
            }
        };
        let span = self.traces.request(method, route, || traceparent(headers));
        Some(Question { began, method, route, dialect, query, form, appid: appid(uri).map(Cow::into_owned), span })
    }

    /// What can be said without asking a store: no, or what memory has.
    fn at_once(&self, question: &Question, peer: IpAddr, headers: &HeaderMap) -> Decided {
        let admitted = match self.guard.try_admit(peer, headers, question.appid.as_deref()) {
            Admission::Decided(Ok(admitted)) => admitted,
            Admission::Decided(Err(rejected)) => {
                return Decided::Answer(Box::new(self.refuse(&rejected, question.asked(headers))));
            }
            undecided => return Decided::Load(undecided),
        };
        match self.hit(question, &admitted, headers) {
            Some(response) => Decided::Answer(Box::new(response)),
            None => Decided::Load(Admission::Decided(Ok(admitted))),
        }
    }

    fn refuse(&self, rejected: &Rejected, asked: Asked) -> Response {
        let (response, word) = answer::refused(rejected.problem.clone());
        let (mut response, code) = self.finished(response, &asked);
        rejected.asker.tell(response.headers_mut());
        asked.tell(&self.metrics, Told::of(&response, code, word, rejected.asker.consumer.as_deref()));
        response
    }

    /// The service made a mistake.
    fn break_down(&self, asked: Asked) -> Response {
        let (response, word) = answer::broken();
        let (response, code) = self.finished(response, &asked);
        asked.tell(&self.metrics, Told::of(&response, code, word, None));
        response
    }

    /// The answer that memory has.
    fn hit(&self, question: &Question, admitted: &Admitted, headers: &HeaderMap) -> Option<Response> {
        let answer = self.recall(question)?;
        let asked = question.asked(headers);
        let (response, word) = question.form.answered(&answer, self.cache.now_ms(), headers, self.constant(question));
        let (mut response, code) = self.finished(response, &asked);
        admitted.asker.tell(response.headers_mut());
        asked.tell(&self.metrics, Told::of(&response, code, word, admitted.asker.consumer.as_deref()));
        Some(response)
    }

    fn recall(&self, question: &Question) -> Option<Answer> {
        if !question.span.is_sampled() {
            return self.cache.recall(&question.query);
        }
        let recalled = question.span.enter(|| self.cache.recall_traced(&question.query))?;
        recalled.tell(&question.span, self.cache.now_ms());
        Some(recalled)
    }

    /// The answer that has to be waited for, be it that memory does not have it or that the guard has to ask the store.
    async fn wait(&self, question: Question, admission: Admission, headers: HeaderMap) -> Response {
        let (headers, question_span) = (&headers, question.span.clone());
        let observation = Observation::begin(&self.metrics, question.asked(headers));
        let answering = async {
            // Memory was asked already of whoever is let in.
            let (admitted, recalled) = match admission {
                Admission::Decided(decided) => (decided, true),
                Admission::Undecided(who) => (self.guard.admit(who).await, false),
            };
            let Admitted { caller, asker } = match admitted {
                Ok(admitted) => admitted,
                Err(rejected) => return (answer::refused(rejected.problem), rejected.asker),
            };
            let (form, constant) = (question.form, self.constant(&question));
            let got = match recalled {
                true => self.cache.load(question.query, caller).await,
                false => self.cache.get(question.query, caller).await,
            };
            let answered = match got {
                Ok(answer) => form.answered(&answer, self.cache.now_ms(), headers, constant),
                Err(error) => answer::not_answered(error),
            };
            (answered, asker)
        };
        let answered = AssertUnwindSafe(question_span.during(answering)).catch_unwind().await;
        let ((response, word), asker) = answered.unwrap_or_else(|_| (answer::broken(), Asker::default()));
        let (mut response, code) = self.finished(response, &observation.asked);
        asker.tell(response.headers_mut());
        observation.end(Told::of(&response, code, word, asker.consumer.as_deref()));
        response
    }

    /// The answer when too many wait already.
    fn turn_away(&self, admission: Admission, asked: Asked) -> Response {
        let asker = match admission {
            Admission::Decided(Ok(admitted)) => admitted.asker,
            Admission::Decided(Err(rejected)) => rejected.asker,
            Admission::Undecided(_) => Asker::default(),
        };
        let (response, word) = answer::not_answered(GetError::Overloaded);
        let (mut response, code) = self.finished(response, &asked);
        asker.tell(response.headers_mut());
        asked.tell(&self.metrics, Told::of(&response, code, word, asker.consumer.as_deref()));
        response
    }

    /// Gives an error its body, and every answer what the layers of the long way would add.
    fn finished(&self, response: Response, asked: &Asked) -> (Response, Option<&'static str>) {
        let (mut response, code) = with_body(response, asked);
        let headers = response.headers_mut();
        if code.is_some() {
            headers.extend(self.headers(asked.dialect).always.clone());
        }
        headers.insert(X_REQUEST_ID, asked.id.clone());
        (response, code)
    }
}
