//! Dates and clocks as they are written in requests and answers.

use time::{Date, Month, OffsetDateTime, Time};

use super::weather::LAST_SECOND;

fn utc(unix: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(unix.clamp(0, LAST_SECOND)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// `2024-09-23`
pub(super) fn date(unix: i64) -> String {
    let date = utc(unix).date();
    format!("{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day())
}

/// `2024-09-23 06:47:06`
pub(super) fn date_and_time(unix: i64) -> String {
    let (hour, minute, second) = utc(unix).time().as_hms();
    format!("{} {hour:02}:{minute:02}:{second:02}", date(unix))
}

/// The first second of a day written like `2024-09-23`, in unix seconds as if it were in UTC.
pub(super) fn read_date(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, '-');
    let year = parts.next()?.parse().ok()?;
    let month = Month::try_from(parts.next()?.parse::<u8>().ok()?).ok()?;
    let day = parts.next()?.parse().ok()?;
    let date = Date::from_calendar_date(year, month, day).ok()?;
    let unix = OffsetDateTime::new_utc(date, Time::MIDNIGHT).unix_timestamp();
    (0..=LAST_SECOND).contains(&unix).then_some(unix)
}

/// `+05:30` for seconds east of UTC.
pub(super) fn offset(seconds: i32) -> String {
    let minutes = seconds.abs() / 60;
    format!("{}{:02}:{:02}", if seconds < 0 { '-' } else { '+' }, minutes / 60, minutes % 60)
}

/// The seconds east of UTC of an offset like `+05:30`. A plus sign that was not encoded in the query has become a space and
/// is lost.
pub(super) fn read_offset(text: &str) -> Option<i32> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (hours, minutes) = digits.split_once(':')?;
    let (hours, minutes): (u8, u8) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours <= 14 && minutes < 60).then(|| sign * (i32::from(hours) * 3_600 + i32::from(minutes) * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_and_read_alike() {
        assert_eq!(date_and_time(1_727_074_026), "2024-09-23 06:47:06");
        assert_eq!(date_and_time(i64::MAX), "9999-12-31 23:59:59");
        for unix in [0, 951_782_400, 1_727_049_600] {
            assert_eq!(read_date(&date(unix)), Some(unix));
        }
        for bad in ["", "2024", "2024-13-01", "2024-02-30", "1969-12-31", "24-9-23-1", "yesterday"] {
            assert_eq!(read_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn offsets_are_written_and_read_alike() {
        for (seconds, text) in [(0, "+00:00"), (19_800, "+05:30"), (-12_600, "-03:30")] {
            assert_eq!(offset(seconds), text);
            assert_eq!(read_offset(text), Some(seconds));
        }
        assert_eq!(read_offset("03:00"), Some(10_800));
        for bad in ["", "3", "+15:00", "+03:60", "Z"] {
            assert_eq!(read_offset(bad), None, "{bad}");
        }
    }
}
