//! The one log line of a request. At thousands a second this line is what a hit costs most after the network, so it is
//! written without `tracing`'s general way of collecting and formatting fields, in the same form and through the same
//! thread.

use std::cell::{Cell, RefCell};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use arrayvec::ArrayString;
use time::OffsetDateTime;

use super::lines::Lines;

/// Where lines go if the log is JSON.
static LINES: OnceLock<Lines> = OnceLock::new();

/// From now on lines are JSON and go to `lines`.
pub(super) fn write_to(lines: Lines) {
    // Where a log is installed already, that one stays.
    let _ = LINES.set(lines);
}

/// What the log tells of a request: a route's template, never a path.
#[derive(Debug, Clone, Copy)]
pub struct Access<'a> {
    /// The request's id.
    pub request_id: &'a str,
    /// The id of the trace that it belongs to, if there is one.
    pub trace_id: Option<&'a str>,
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
    /// The name of the consumer whose key the request brought.
    pub consumer: Option<&'a str>,
    /// From the request's head to the answer's, in microseconds.
    pub duration_us: u64,
}

impl Access<'_> {
    /// Writes the line, if the log's filter lets `stratus::access` through at `info`.
    pub fn log(&self) {
        if !tracing::enabled!(target: "stratus::access", tracing::Level::INFO) {
            return;
        }
        let Some(lines) = LINES.get() else { return self.event() };
        LINE.with_borrow_mut(|line| {
            line.clear();
            self.write(line, SystemTime::now());
            lines.push(line);
        });
    }

    fn event(&self) {
        let Self { request_id, trace_id, method, route, status, code, cache, consumer, duration_us } = *self;
        tracing::info!(
            target: "stratus::access",
            request_id, trace_id, method, route, status, code, cache, consumer, duration_us, "request"
        );
    }

    fn write(&self, line: &mut Vec<u8>, now: SystemTime) {
        // Nothing here needs escaping: our own words, ids which `observe` lets through only if they are plain, and names of
        // consumers, which are plain, too.
        let mut add = |text: &str| line.extend_from_slice(text.as_bytes());
        add(r#"{"timestamp":""#);
        add(&timestamp(now));
        add(r#"","level":"INFO","message":"request","request_id":""#);
        add(self.request_id);
        if let Some(trace_id) = self.trace_id {
            add(r#"","trace_id":""#);
            add(trace_id);
        }
        add(r#"","method":""#);
        add(self.method);
        add(r#"","route":""#);
        add(self.route);
        add(r#"","status":"#);
        add(itoa::Buffer::new().format(self.status));
        for (name, value) in
            [(r#","code":""#, self.code), (r#","cache":""#, self.cache), (r#","consumer":""#, self.consumer)]
        {
            if let Some(value) = value {
                add(name);
                add(value);
                add("\"");
            }
        }
        add(r#","duration_us":"#);
        add(itoa::Buffer::new().format(self.duration_us));
        add(",\"target\":\"stratus::access\"}\n");
    }
}

thread_local! {
    /// The line that is being written.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// The last second that was written here, and its text: most lines share theirs with the one before.
    static SECOND: Cell<(u64, ArrayString<20>)> = const { Cell::new((u64::MAX, ArrayString::new_const())) };
}

/// RFC 3339 with microseconds, in UTC, as `tracing_subscriber` writes it.
fn timestamp(now: SystemTime) -> ArrayString<32> {
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (mut second, mut text) = SECOND.get();
    if second != since_epoch.as_secs() {
        second = since_epoch.as_secs();
        text = seconds(second);
        SECOND.set((second, text));
    }
    // A one before the six digits keeps their zeros.
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(1_000_000 + since_epoch.subsec_micros());
    let mut whole = ArrayString::new();
    for part in [&text, ".", &digits[1..], "Z"] {
        whole.push_str(part);
    }
    whole
}

fn seconds(unix: u64) -> ArrayString<20> {
    use std::fmt::Write;
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
        request_id: "a-b",
        trace_id: None,
        method: "GET",
        route: "/weather/{location}",
        status: 200,
        code: None,
        cache: Some("HIT"),
        consumer: None,
        duration_us: 7,
    };

    fn line(access: &Access<'_>, unix: Duration) -> String {
        let mut line = Vec::new();
        access.write(&mut line, UNIX_EPOCH + unix);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn the_line_is_one_json_object_with_the_fields_of_the_log() {
        let text = line(&ACCESS, Duration::from_micros(1_795_299_000_000_042));
        assert_eq!(
            text,
            concat!(
                r#"{"timestamp":"2026-11-21T22:10:00.000042Z","level":"INFO","message":"request","request_id":"a-b","#,
                r#""method":"GET","route":"/weather/{location}","status":200,"cache":"HIT","duration_us":7,"#,
                r#""target":"stratus::access"}"#,
                "\n"
            )
        );
        let failed = Access { code: Some("overloaded"), cache: None, status: 503, ..ACCESS };
        let text = line(&failed, Duration::ZERO);
        assert!(text.contains(r#""status":503,"code":"overloaded","duration_us":7"#), "{text}");
        let text = line(&Access { consumer: Some("kiosk-1"), ..ACCESS }, Duration::ZERO);
        assert!(text.contains(r#""cache":"HIT","consumer":"kiosk-1","duration_us":7"#), "{text}");
        let text = line(&Access { trace_id: Some("0af7"), ..ACCESS }, Duration::ZERO);
        assert!(text.contains(r#""request_id":"a-b","trace_id":"0af7","method":"GET""#), "{text}");
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
