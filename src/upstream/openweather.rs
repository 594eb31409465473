//! What OpenWeatherMap is asked and what its answers mean, by its documentation and by recorded answers.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;
use serde_json::value::RawValue;
use url::Url;

use crate::weather::{
    Endpoint, Failure, Host, Json as Member, LINKS, MAX_WORDS, Plan, Query, Shape, SourceError, Words,
};

/// After a 429 callers are told to wait at least this long: the limit is per minute and account.
const LEAST_WAIT: Duration = Duration::from_secs(60);
/// A longer `Retry-After` than this is taken for an error.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// How every PNG image begins (RFC 2083, section 3.1).
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Writes the path and the parameters of the question and, last, the key into `url`, the base URL.
pub(super) fn write_request(url: &mut Url, query: &Query, key: &str) {
    let endpoint = query.endpoint();
    // What not all plans have is on hosts beside that. Behind another base URL all is taken to be in one place.
    if url.host_str() == Some(Host::Api.name()) {
        // The base URL has a host, so it can have another one.
        let _ = url.set_host(Some(endpoint.host.name()));
    }
    let (path, parameters) = query.target();
    let path = format!("{}{path}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    if endpoint.host == Host::Site {
        return;
    }
    let separator = if parameters.is_empty() { "" } else { "&" };
    let key: String = form_urlencoded::byte_serialize(key.as_bytes()).collect();
    url.set_query(Some(&format!("{parameters}{separator}appid={key}")));
}

/// Seconds from `Retry-After` (RFC 9110, section 10.2.3), within reason; OpenWeatherMap was never seen to send it.
pub(super) fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    seconds.map_or(LEAST_WAIT, Duration::from_secs).clamp(LEAST_WAIT, LONGEST_WAIT)
}

/// Whether a body is what the endpoint answers, by its status and by what it says itself: OpenWeatherMap has answered 200 with
/// an error inside, and writes `cod` now as a number, now as a string.
///
/// # Errors
/// It is not; with OpenWeatherMap's own words, if it is its error and not that of a gateway on the way.
pub(super) fn judge(endpoint: &Endpoint, status: u16, body: &Bytes, retry_after: Duration) -> Result<(), Failure> {
    if endpoint.shape == Shape::Png {
        return match status {
            200 if body.starts_with(PNG) => Ok(()),
            // There is no such image.
            404 => Err(SourceError::UnknownLocation.into()),
            200 => Err(SourceError::InvalidResponse.into()),
            _ => Err(failure(endpoint, status, &Said::default(), retry_after).into()),
        };
    }
    let words = || (body.len() <= MAX_WORDS).then(|| Words { status, body: Bytes::copy_from_slice(body) });
    // JSON is UTF-8 (RFC 8259, section 8.1).
    let json = std::str::from_utf8(body).ok().and_then(Json::read);
    let said = json.as_ref().map(Json::says).unwrap_or_default();
    if status != 200 {
        let own = said.code.is_some();
        // What says that a place is unknown has to be OpenWeatherMap itself.
        if matches!(status, 400 | 404) && !own {
            return Err(SourceError::Failed.into());
        }
        let error = failure(endpoint, status, &said, retry_after);
        return Err(Failure { error, words: words().filter(|_| own) });
    }
    match said.code {
        Some(code) if code != 200 => {
            Err(Failure { error: failure(endpoint, code, &said, retry_after), words: words() })
        }
        _ => match json {
            Some(Json::Array(0)) if endpoint.shape == Shape::Array => {
                Err(Failure { error: SourceError::UnknownLocation, words: words() })
            }
            Some(json) if json.fits(endpoint.shape) => Ok(()),
            _ => Err(SourceError::InvalidResponse.into()),
        },
    }
}

fn failure(endpoint: &Endpoint, code: u16, said: &Said, retry_after: Duration) -> SourceError {
    match code {
        // An unknown path, not an unknown place: the base URL is wrong.
        404 if said.message.as_deref() == Some("Internal error") => SourceError::Failed,
        // 400 is what a place gets that is well-formed but means nothing there ("Nothing to geocode").
        400 | 404 => SourceError::UnknownLocation,
        // No key was sent: a store of files forbids what it does not have.
        401 | 403 if endpoint.host == Host::Site => SourceError::UnknownLocation,
        429 if endpoint.host == Host::Site => SourceError::Failed,
        // That is somebody on the way, and may be for what was asked.
        403 if said.code.is_none() => SourceError::Failed,
        401 | 403 if endpoint.plan == Plan::Some => SourceError::NotInPlan,
        401 | 403 => SourceError::RejectedKey,
        429 => SourceError::BudgetExhausted { retry_after },
        502..=504 => SourceError::Unavailable,
        _ => SourceError::Failed,
    }
}

/// A body, read as far as it has to be known; the rest is checked to be JSON and skipped.
enum Json<'a> {
    Object(HashMap<Cow<'a, str>, &'a RawValue>),
    /// Of so many objects.
    Array(usize),
}

/// What a body says of itself.
#[derive(Default)]
struct Said {
    /// Its `cod`, or its `error`.
    code: Option<u16>,
    /// On some successes it is a number, which is none here.
    message: Option<String>,
}

impl<'a> Json<'a> {
    fn read(text: &'a str) -> Option<Self> {
        if text.trim_start().starts_with('[') {
            let objects: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            return objects.iter().all(|object| object.get().starts_with('{')).then_some(Self::Array(objects.len()));
        }
        let members: HashMap<Name<'a>, &RawValue> = serde_json::from_str(text).ok()?;
        Some(Self::Object(members.into_iter().map(|(name, value)| (name.0, value)).collect()))
    }

    fn says(&self) -> Said {
        let Self::Object(members) = self else { return Said::default() };
        // Anything else in its place is no success.
        let code = |raw: &&RawValue| raw.get().trim_matches('"').parse().unwrap_or(500);
        Said {
            code: members.get("cod").or_else(|| members.get("error")).filter(|raw| raw.get() != "null").map(code),
            message: members.get("message").and_then(|raw| serde_json::from_str(raw.get()).ok()),
        }
    }

    fn fits(&self, shape: Shape) -> bool {
        let has = |name: &str, kind: Member| match self {
            Self::Object(members) => members.get(name).is_some_and(|raw| is(raw, kind)),
            Self::Array(_) => false,
        };
        match shape {
            Shape::Object(wanted) => wanted.iter().all(|(name, kind)| has(name, *kind)),
            Shape::Array => matches!(self, Self::Array(_)),
            Shape::Pages => has("data", Member::List),
            Shape::Png => false,
        }
    }
}

fn is(raw: &RawValue, kind: Member) -> bool {
    let first = raw.get().bytes().next();
    match kind {
        Member::List => first == Some(b'['),
        Member::Map => first == Some(b'{'),
        Member::Number => first.is_some_and(|byte| byte == b'-' || byte.is_ascii_digit()),
        Member::Text => first == Some(b'"'),
    }
}

/// The name of a member, borrowed unless it has escapes.
#[derive(PartialEq, Eq, Hash, Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The body of an answer in pages, with the link to its next page as it is on any host and without a key: its path and its
/// parameters. `base` is where it was asked for.
///
/// `None` if the link leads elsewhere, or if following it here would ask for something else: there is no telling what is in
/// it.
pub(super) fn without_origin(endpoint: &'static Endpoint, body: &Bytes, base: &Url) -> Option<Bytes> {
    LINKS.iter().try_fold(body.clone(), |body, name| link_without_origin(endpoint, &body, name, base))
}

/// The links of a page; no two of one name, of which a client may follow the other one.
#[derive(Deserialize)]
struct Links<'a> {
    #[serde(borrow)]
    next: Option<&'a RawValue>,
    #[serde(borrow)]
    prev: Option<&'a RawValue>,
}

fn link_without_origin(endpoint: &'static Endpoint, body: &Bytes, name: &str, base: &Url) -> Option<Bytes> {
    let text = std::str::from_utf8(body).ok()?;
    let Links { next, prev } = serde_json::from_str(text).ok()?;
    let link = if name == "next" { next } else { prev };
    let Some(link) = link.filter(|raw| is(raw, Member::Text)).map(RawValue::get) else {
        return Some(body.clone());
    };
    let written: String = serde_json::from_str(link).ok()?;
    if written.is_empty() {
        return Some(body.clone());
    }
    let url = base.join(&written).ok()?;
    let at_home = url.host_str().is_some_and(|host| host == Host::Api.name() || Some(host) == base.host_str());
    if !at_home || !url.username().is_empty() || url.password().is_some() || url.path() != endpoint.paths[0] {
        return None;
    }
    let other = Query::link(endpoint, url.query().unwrap_or_default())?;
    let relative = serde_json::to_string(&format!("{}?{}", url.path(), other.parameters())).ok()?;
    // The link is a part of the text.
    let start = (link.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    Some([&text[..start], &relative, &text[start + link.len()..]].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weather::WEATHER;

    fn request(segment: &str, parameters: &str) -> String {
        let mut url = Url::parse("https://api.openweathermap.org").unwrap();
        write_request(&mut url, &Query::parse(segment, parameters).unwrap(), "KEY");
        url.to_string().replace("https://api.openweathermap.org/data/2.5/weather?", "")
    }

    #[test]
    fn every_form_of_a_place_is_asked_in_its_own_parameter() {
        assert_eq!(request("New York,NY,US", ""), "q=new+york%2Cny%2Cus&units=metric&appid=KEY");
        assert_eq!(request("51.5074,-0.1278", "units=imperial"), "lat=51.51&lon=-0.13&units=imperial&appid=KEY");
        assert_eq!(request("id:2643743", "lang=PT-br"), "id=2643743&lang=pt_br&units=metric&appid=KEY");
        assert_eq!(request("zip:94040,US", ""), "units=metric&zip=94040%2Cus&appid=KEY");
    }

    #[test]
    fn a_base_url_may_have_a_path() {
        let mut url = Url::parse("https://gateway.example/owm/").unwrap();
        write_request(&mut url, &Query::parse("id:1", "").unwrap(), "K");
        assert!(url.as_str().starts_with("https://gateway.example/owm/data/2.5/weather?id=1&"));
    }

    #[test]
    fn a_body_is_weather_only_if_it_says_so() {
        let weather = br#"{"weather":[{"id":800}],"main":{"temp":12},"cod":200}"#;
        let judged = |status, body: &[u8]| {
            judge(WEATHER, status, &Bytes::copy_from_slice(body), LEAST_WAIT).map_err(|failure| failure.error)
        };
        assert_eq!(judged(200, weather), Ok(()));
        assert_eq!(judged(200, br#"{"weather":[],"main":{},"cod":"200"}"#), Ok(()));
        for (status, body, expected) in [
            (200, "", SourceError::InvalidResponse),
            (200, "<html>", SourceError::InvalidResponse),
            (200, "[]", SourceError::InvalidResponse),
            (200, r#"{"cod":200}"#, SourceError::InvalidResponse),
            (200, r#"{"weather":[],"main":{},"cod":200"#, SourceError::InvalidResponse),
            (200, r#"{"weather":[],"main":{},"cod":200} x"#, SourceError::InvalidResponse),
            (200, r#"{"cod":"404","message":""}"#, SourceError::UnknownLocation),
            (200, r#"{"cod":404}"#, SourceError::UnknownLocation),
            (200, r#"{"error":"404"}"#, SourceError::UnknownLocation),
            (200, r#"{"cod":"500","message":"x"}"#, SourceError::Failed),
            (404, r#"{"cod":"404","message":"city not found"}"#, SourceError::UnknownLocation),
            (404, r#"{"cod":"404","message":"Internal error"}"#, SourceError::Failed),
            (400, r#"{"cod":"400","message":"Nothing to geocode"}"#, SourceError::UnknownLocation),
            (401, r#"{"cod":401, "message": "Invalid API key."}"#, SourceError::RejectedKey),
            (429, "", SourceError::BudgetExhausted { retry_after: LEAST_WAIT }),
            (500, "<html>", SourceError::Failed),
            (503, "", SourceError::Unavailable),
            (404, "<html>404 page not found</html>", SourceError::Failed),
            (404, "", SourceError::Failed),
            (404, r#"{"message":"no route"}"#, SourceError::Failed),
            (400, "<html>bad gateway</html>", SourceError::Failed),
            (302, "", SourceError::Failed),
            (204, "", SourceError::Failed),
        ] {
            assert_eq!(judged(status, body.as_bytes()), Err(expected), "{status} {body}");
        }
    }

    #[test]
    fn retry_after_is_honoured_within_reason() {
        let wait = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            retry_after(&headers).as_secs()
        };
        assert_eq!((wait("5"), wait("120"), wait("999999"), wait("soon")), (60, 120, 3_600, 60));
        assert_eq!(retry_after(&HeaderMap::new()).as_secs(), 60);
    }
}
