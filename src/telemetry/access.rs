//! The one log line of a request. At thousands a second this line is what a hit costs most after the network, so it is
//! written without `tracing`'s general way of collecting and formatting fields, in the same form and through the same
//! thread.

use std::cell::RefCell;
use std::fmt;
use std::io::Write;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use arrayvec::ArrayString;
use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use tracing_appender::non_blocking::NonBlocking;

/// Where lines go if the log is JSON.
static LINES: OnceLock<NonBlocking> = OnceLock::new();

/// From now on lines are JSON and go to `writer`.
pub(super) fn write_to(writer: NonBlocking) {
    // Where a log is installed already, that one stays.
    let _ = LINES.set(writer);
}

/// What the log tells of a request: a route's template, never a path.
#[derive(Debug, Clone, Copy)]
pub struct Access<'a> {
    /// The request's id.
    pub request_id: &'a str,
    /// The method.
    pub method: &'static str,
    /// The template of the route.
    pub route: &'static str,
    /// The status code.
    pub status: u16,
    /// The code of an error.
    pub code: Option<&'static str>,
    /// How a data route was answered.
    pub cache: Option<&'static str>,
    /// From the request's head to the answer's, in microseconds.
    pub duration_us: u64,
}

impl Access<'_> {
    /// Writes the line, if the log's filter lets `stratus::access` through at `info`.
    pub fn log(&self) {
        if !tracing::enabled!(target: "stratus::access", tracing::Level::INFO) {
            return;
        }
        match LINES.get() {
            // A full queue drops the line, as it does any other.
            Some(lines) => drop(lines.clone().write(&self.line(SystemTime::now()))),
            None => self.event(),
        }
    }

    fn event(&self) {
        let Self { request_id, method, route, status, code, cache, duration_us } = *self;
        tracing::info!(
            target: "stratus::access",
            request_id, method, route, status, code, cache, duration_us, "request"
        );
    }

    fn line(&self, now: SystemTime) -> Vec<u8> {
        #[derive(Serialize)]
        struct Line<'a> {
            timestamp: Timestamp,
            level: &'static str,
            message: &'static str,
            request_id: &'a str,
            method: &'static str,
            route: &'static str,
            status: u16,
            #[serde(skip_serializing_if = "Option::is_none")]
            code: Option<&'static str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            cache: Option<&'static str>,
            duration_us: u64,
            target: &'static str,
        }
        let Self { request_id, method, route, status, code, cache, duration_us } = *self;
        let (timestamp, level, message, target) = (Timestamp(now), "INFO", "request", "stratus::access");
        let line =
            Line { timestamp, level, message, request_id, method, route, status, code, cache, duration_us, target };
        let mut bytes = Vec::with_capacity(320);
        // Strings and numbers always have a JSON form, and a Vec takes everything.
        let _ = serde_json::to_writer(&mut bytes, &line);
        bytes.push(b'\n');
        bytes
    }
}

/// RFC 3339 with microseconds, in UTC, as `tracing_subscriber` writes it.
struct Timestamp(SystemTime);

thread_local! {
    /// The last second that was written here, and its text: most lines share theirs with the one before.
    static SECOND: RefCell<(u64, ArrayString<20>)> = const { RefCell::new((u64::MAX, ArrayString::new_const())) };
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since_epoch = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = since_epoch.as_secs();
        SECOND.with_borrow_mut(|(known, text)| {
            if *known != second {
                (*known, *text) = (second, seconds(second));
            }
            f.write_str(text)
        })?;
        write!(f, ".{:06}Z", since_epoch.subsec_micros())
    }
}

fn seconds(unix: u64) -> ArrayString<20> {
    use fmt::Write;
    let moment = i64::try_from(unix).ok().and_then(|unix| OffsetDateTime::from_unix_timestamp(unix).ok());
    let moment = moment.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, time) = (moment.date(), moment.time());
    let mut text = ArrayString::new();
    // Nineteen characters up to the year 9999, which is where `time` ends.
    let _ = write!(
        text,
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const ACCESS: Access<'_> = Access {
        request_id: "a\"b",
        method: "GET",
        route: "/weather/{location}",
        status: 200,
        code: None,
        cache: Some("HIT"),
        duration_us: 7,
    };

    fn line(access: &Access<'_>, unix: Duration) -> String {
        String::from_utf8(access.line(UNIX_EPOCH + unix)).unwrap()
    }

    #[test]
    fn the_line_is_one_json_object_with_the_fields_of_the_log() {
        let text = line(&ACCESS, Duration::from_micros(1_795_299_000_000_042));
        assert_eq!(
            text,
            concat!(
                r#"{"timestamp":"2026-11-21T22:10:00.000042Z","level":"INFO","message":"request","request_id":"a\"b","#,
                r#""method":"GET","route":"/weather/{location}","status":200,"cache":"HIT","duration_us":7,"#,
                r#""target":"stratus::access"}"#,
                "\n"
            )
        );
        let failed = Access { code: Some("overloaded"), cache: None, status: 503, ..ACCESS };
        let text = line(&failed, Duration::ZERO);
        assert!(text.contains(r#""status":503,"code":"overloaded","duration_us":7"#), "{text}");
    }

    #[test]
    fn each_second_is_told_anew() {
        for (unix, expected) in
            [(0, "1970-01-01T00:00:00"), (951_782_399, "2000-02-28T23:59:59"), (951_782_400, "2000-02-29T00:00:00")]
        {
            assert!(line(&ACCESS, Duration::from_secs(unix)).contains(expected), "{unix}");
        }
    }
}
