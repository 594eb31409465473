//! `stratus consumer new`.

use super::{Failed, complain, fail, say};
use crate::clock::Clock;
use crate::consumers::{PER_MINUTE, entry, generate_key, is_name, parse_moment};

pub(super) fn new(name: &str, per_minute: u32, expires: Option<&str>) -> Result<(), Failed> {
    let mut faulty = false;
    let mut fault = |what: String| {
        faulty = true;
        complain(format!("stratus: {what}"));
    };
    if !is_name(name) {
        fault("NAME: has to be 1 to 64 letters, digits, dots, hyphens or underscores".to_owned());
    }
    if !PER_MINUTE.contains(&per_minute) {
        fault(format!("--per-minute: has to be from {} to {}", PER_MINUTE.start(), PER_MINUTE.end()));
    }
    match expires.map(parse_moment) {
        Some(None) => {
            fault(
                "--expires: has to be a date such as 2027-01-01 (from then on, UTC) or 2027-01-01T12:00:00Z".to_owned(),
            );
        }
        Some(Some(end)) if end <= Clock::system().now_ms() => fault("--expires: is over already".to_owned()),
        _ => {}
    }
    if faulty {
        return Err(Failed(2));
    }
    let key = generate_key().map_err(|error| fail(1, error))?;
    say(key.as_str());
    say("");
    say(entry(name, per_minute, key.as_bytes(), expires).trim_end());
    complain(
        "The first line is the key, for the app: it is shown only now. The rest belongs into access.consumers_file.",
    );
    Ok(())
}
