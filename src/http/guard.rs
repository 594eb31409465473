//! Who asks, and may they, now? Before any place is looked at.
//!
//! A request is a consumer's if it brings a key, else that of the address that it comes from. Each has a limit of its own
//! (`limits`). A key that is wrong counts against the address, so that trying keys is limited, too.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayString;
use axum::extract::{Extension, Request, State};
use axum::http::header::{AUTHORIZATION, ORIGIN, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::openapi::Keys;
use super::openweathermap::Dialect;
use super::peer::TrustedProxies;
use super::problem::Problem;
use crate::clock::Clock;
use crate::consumers::{Consumer, Consumers, Unknown, is_well_formed};
use crate::limits::{Addresses, Decision, Limits, Meter, Standing, Verdict};
use crate::reload::Live;
use crate::weather::Caller;

/// The other way to bring a key, beside `Authorization: Bearer` (RFC 6750).
pub(super) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// draft-ietf-httpapi-ratelimit-headers: what the limit is.
pub(super) const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// The same draft: how much of it is left.
pub(super) const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// What a limit is counted over.
const WINDOW_SECS: u64 = 60;
/// Answers to different keys, and to different pages with one, are kept apart by other caches: one must not answer whom we
/// would refuse.
const VARY_BY_KEY: HeaderValue = HeaderValue::from_static("authorization, x-api-key, origin");

/// Who may ask, and how much.
#[derive(Debug, Clone)]
pub struct AccessConfig {
    /// Whether a consumer key is needed.
    pub required: bool,
    /// Those who have one.
    pub consumers: Option<Live<Consumers>>,
    /// Requests a minute of each address without a key, over all replicas; 0 for no limit.
    pub anonymous_per_minute: u32,
    /// Whose word counts about where a request comes from.
    pub proxies: TrustedProxies,
}

/// Lets requests in or not.
pub struct Guard {
    config: AccessConfig,
    limits: Arc<Limits>,
    addresses: Option<Addresses>,
    clock: Clock,
}

/// Who asks.
pub(super) struct Who {
    caller: Caller,
    consumer: Option<Arc<Consumer>>,
    meter: Option<Arc<Meter>>,
    /// Why it is refused, if it is not for its limit.
    refused: Option<Problem>,
}

/// What is told of whoever asks.
#[derive(Debug, Default)]
pub(super) struct Asker {
    /// The consumer's name, for the log.
    pub(super) consumer: Option<Arc<str>>,
    standing: Option<Standing>,
}

/// Somebody who may ask, now.
#[derive(Debug)]
pub(super) struct Admitted {
    /// For a fair share of the upstream.
    pub(super) caller: Caller,
    pub(super) asker: Asker,
}

/// Somebody who may not.
#[derive(Debug)]
pub(super) struct Rejected {
    pub(super) problem: Problem,
    pub(super) asker: Asker,
}

/// What the guard says at once.
pub(super) enum Admission {
    /// In or out.
    Decided(Result<Admitted, Box<Rejected>>),
    /// The store has to be asked: see [`Guard::admit`].
    Undecided(Who),
}

impl Guard {
    /// `limits` counts for it, `clock` tells which keys have ended.
    pub fn new(config: AccessConfig, limits: Arc<Limits>, clock: Clock) -> Self {
        let addresses =
            (config.anonymous_per_minute > 0).then(|| Addresses::new(Arc::clone(&limits), config.anonymous_per_minute));
        Self { config, limits, addresses, clock }
    }

    /// Whether a page of this origin may read answers on account of some consumer.
    pub(super) fn any_names(&self, origin: &[u8]) -> bool {
        self.config.consumers.as_ref().is_some_and(|consumers| consumers.load().any_names(origin))
    }

    /// Whose word counts about where a request comes from.
    pub fn proxies(&self) -> &TrustedProxies {
        &self.config.proxies
    }

    /// Whether answers are only for those who have a key.
    pub(super) fn requires_key(&self) -> bool {
        self.config.required
    }

    /// Whether callers have keys.
    pub(super) fn keys(&self) -> Keys {
        match (self.config.required, &self.config.consumers) {
            (true, _) => Keys::Required,
            (false, Some(_)) => Keys::Optional,
            (false, None) => Keys::None,
        }
    }

    /// Decides, if that is possible without asking the store.
    pub(super) fn try_admit(&self, peer: IpAddr, headers: &HeaderMap, appid: Option<&str>) -> Admission {
        let who = self.who(peer, headers, appid);
        let Some(meter) = &who.meter else { return Admission::Decided(who.granted(None)) };
        match self.limits.try_take(meter) {
            Decision::Granted(standing) => Admission::Decided(who.granted(Some(standing))),
            Decision::Refused { retry_after, standing } => {
                Admission::Decided(Err(who.over_limit(retry_after, standing)))
            }
            Decision::Ask => Admission::Undecided(who),
        }
    }

    /// Decides, and asks the store for that.
    pub(super) async fn admit(&self, who: Who) -> Result<Admitted, Box<Rejected>> {
        let Some(meter) = &who.meter else { return who.granted(None) };
        match self.limits.take(meter).await {
            Verdict::Granted(standing) => who.granted(Some(standing)),
            Verdict::Refused { retry_after, standing } => Err(who.over_limit(retry_after, standing)),
        }
    }

    fn who(&self, peer: IpAddr, headers: &HeaderMap, appid: Option<&str>) -> Who {
        match self.consumer(headers, appid) {
            Ok(Some(consumer)) => match headers.get(ORIGIN) {
                // A page that has no right to the key must not use up what its owner may ask.
                Some(origin) if !consumer.allows(origin.as_bytes()) => {
                    self.anonymous(peer, headers, Some(Problem::origin_not_allowed()))
                }
                _ => Who {
                    caller: consumer.caller,
                    meter: Some(Arc::clone(&consumer.meter)),
                    consumer: Some(consumer),
                    refused: None,
                },
            },
            Ok(None) => self.anonymous(peer, headers, self.config.required.then(Problem::missing_key)),
            Err(problem) => self.anonymous(peer, headers, Some(problem)),
        }
    }

    fn anonymous(&self, peer: IpAddr, headers: &HeaderMap, refused: Option<Problem>) -> Who {
        let caller = Caller::from(self.config.proxies.caller(peer, headers));
        let meter = self.addresses.as_ref().map(|addresses| addresses.meter(caller));
        Who { caller, consumer: None, meter, refused }
    }

    /// The consumer whose key the request brings; `None` if it brings none, or if there are no consumers at all.
    ///
    /// `appid` is that of OpenWeatherMap's paths, if it says something. A header counts more. Where no key is needed, one that
    /// is none of ours says nothing: clients bring what they had for OpenWeatherMap.
    fn consumer(&self, headers: &HeaderMap, appid: Option<&str>) -> Result<Option<Arc<Consumer>>, Problem> {
        // Where nobody has a key these headers are for somebody else: a proxy that asks for a password, say.
        let Some(consumers) = &self.config.consumers else { return Ok(None) };
        let (mut authorization, mut x_api_key) =
            (headers.get_all(AUTHORIZATION).iter(), headers.get_all(X_API_KEY).iter());
        let key = match (authorization.next(), x_api_key.next()) {
            (None, None) => match appid.map(|appid| appid.trim().as_bytes()) {
                Some(key) if self.config.required || is_well_formed(key) => key,
                _ => return Ok(None),
            },
            (Some(authorization), None) => bearer(authorization.as_bytes()).ok_or_else(|| {
                Problem::invalid_key("the Authorization header has to be `Bearer` and a consumer key")
            })?,
            (None, Some(key)) => key.as_bytes().trim_ascii(),
            (Some(_), Some(_)) => return Err(twice()),
        };
        // Who stands in front may look at the other one.
        if authorization.next().is_some() || x_api_key.next().is_some() {
            return Err(twice());
        }
        consumers.load().find(key, self.clock.now_ms()).map(Some).map_err(|unknown| match unknown {
            Unknown::Expired => Problem::expired_key(),
            Unknown::Key if is_well_formed(key) => {
                Problem::invalid_key("nobody has this key: it may have been revoked")
            }
            Unknown::Key => {
                Problem::invalid_key("this is no consumer key, or it is mistyped: its check digits do not fit")
            }
        })
    }
}

fn twice() -> Problem {
    Problem::invalid_key("give the key once, as Authorization: Bearer or as X-API-Key")
}

/// The key of `Authorization: Bearer`; the scheme is the same in any case (RFC 9110, section 11.1).
pub(super) fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

impl Who {
    /// The limit lets it in.
    fn granted(self, standing: Option<Standing>) -> Result<Admitted, Box<Rejected>> {
        let consumer = self.consumer.map(|consumer| {
            consumer.asked.note_admitted();
            Arc::clone(&consumer.name)
        });
        let asker = Asker { consumer, standing };
        match self.refused {
            None => Ok(Admitted { caller: self.caller, asker }),
            Some(problem) => Err(Box::new(Rejected { problem, asker })),
        }
    }

    fn over_limit(self, retry_after: Duration, standing: Standing) -> Box<Rejected> {
        let consumer = self.consumer.map(|consumer| {
            consumer.asked.note_refused();
            Arc::clone(&consumer.name)
        });
        let asker = Asker { consumer, standing: Some(standing) };
        Box::new(Rejected { problem: Problem::over_limit(retry_after), asker })
    }
}

impl Asker {
    /// Tells the caller how it stands with its limit.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        let Some(Standing { limit, left, resets_in }) = self.standing else {
            // Who has no limit; there may be room for them in the answer.
            headers.remove(RATELIMIT_POLICY);
            headers.remove(RATELIMIT);
            return;
        };
        let name = if self.consumer.is_some() { "\"consumer\"" } else { "\"address\"" };
        let secs = resets_in.as_secs() + u64::from(resets_in.subsec_nanos() > 0);
        headers.insert(RATELIMIT_POLICY, item(name, [(";q=", limit.into()), (";w=", WINDOW_SECS)]));
        headers.insert(RATELIMIT, item(name, [(";r=", left.into()), (";t=", secs)]));
    }
}

/// An item of a structured field (RFC 9651, section 3.3) with two parameters.
fn item(name: &str, parameters: [(&str, u64); 2]) -> HeaderValue {
    // Room for two numbers of 20 digits.
    let mut text = ArrayString::<64>::new();
    text.push_str(name);
    for (parameter, value) in parameters {
        text.push_str(parameter);
        text.push_str(itoa::Buffer::new().format(value));
    }
    // Visible ASCII.
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

/// The consumer's name, told to the log line by way of the answer.
#[derive(Debug, Clone)]
pub(super) struct AskedBy(pub(super) Arc<str>);

/// The guard on the long way: a layer round the data routes.
pub(super) async fn guard(
    State(guard): State<Arc<Guard>>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let appid = appid(request.uri());
    let admitted = match guard.try_admit(peer.0, request.headers(), appid.as_deref()) {
        Admission::Decided(decided) => decided,
        Admission::Undecided(who) => guard.admit(who).await,
    };
    let (mut response, consumer) = match admitted {
        Ok(admitted) => {
            request.extensions_mut().insert(admitted.caller);
            let mut response = next.run(request).await;
            admitted.asker.tell(response.headers_mut());
            (response, admitted.asker.consumer)
        }
        Err(rejected) => {
            let mut response = rejected.problem.into_response();
            rejected.asker.tell(response.headers_mut());
            (response, rejected.asker.consumer)
        }
    };
    if let Some(name) = consumer {
        response.extensions_mut().insert(AskedBy(name));
    }
    if guard.requires_key() {
        vary_by_key(response.headers_mut());
    }
    response
}

/// The key of a request on one of OpenWeatherMap's paths.
pub(super) fn appid(uri: &Uri) -> Option<Cow<'_, str>> {
    match Dialect::of(uri.path()) {
        Dialect::Own => None,
        Dialect::OpenWeatherMap => crate::weather::appid(uri.query()?),
    }
}

/// Says that the answer depends on the key.
pub(super) fn vary_by_key(headers: &mut HeaderMap) {
    headers.append(VARY, VARY_BY_KEY);
}

/// The other end of the connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_found_whatever_the_case_of_its_scheme() {
        for (value, expected) in [
            (&b"Bearer abc"[..], Some(&b"abc"[..])),
            (b"bearer  abc ", Some(b"abc")),
            (b"BEARER abc", Some(b"abc")),
            (b"Bearer", None),
            (b"Basic abc", None),
            (b"Bearerabc", None),
            (b"", None),
        ] {
            assert_eq!(bearer(value), expected, "{}", String::from_utf8_lossy(value));
        }
    }

    #[test]
    fn the_longest_fields_have_room() {
        let mut headers = HeaderMap::new();
        let resets_in = Duration::from_secs(u64::MAX - 1);
        let standing = Some(Standing { limit: u32::MAX, left: u32::MAX, resets_in });
        Asker { consumer: Some("a".into()), standing }.tell(&mut headers);
        assert_eq!(headers[RATELIMIT_POLICY], "\"consumer\";q=4294967295;w=60");
        assert_eq!(headers[RATELIMIT], "\"consumer\";r=4294967295;t=18446744073709551614");
    }
}
