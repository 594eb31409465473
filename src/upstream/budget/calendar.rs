//! The caps of the day and of the month, in UTC.
//!
//! The shared part of each is a number in the store that every call raises, and whose result decides. Each replica
//! remembers the highest result: a store that lost its data is told it again before it counts on. A window that is used up
//! is remembered until it ends, so that no slot of a minute is wasted on it.
//!
//! The date is the wall clock's at the start and monotonic time since: setting the clock begins no new day.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::{Date, Month, OffsetDateTime, Time};
use tokio::time::Instant;

use super::parts::{Own, Part, Parts};
use super::{Left, RefusedBecause, names_of, note_of};
use crate::store::{NoteClaim, Notebook, StoreError};

const DAY: Duration = Duration::from_hours(24);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Span {
    Day,
    Month,
}

impl Span {
    /// The first day of the window that `date` is in.
    fn first(self, date: Date) -> Date {
        match self {
            Self::Day => date,
            Self::Month => date.replace_day(1).unwrap_or(date),
        }
    }

    /// The first day after that window.
    fn next(self, first: Date) -> Date {
        let next = match (self, first.month()) {
            (Self::Day, _) => first.next_day(),
            (Self::Month, Month::December) => Date::from_calendar_date(first.year() + 1, Month::January, 1).ok(),
            (Self::Month, month) => Date::from_calendar_date(first.year(), month.next(), 1).ok(),
        };
        next.unwrap_or(Date::MAX)
    }

    /// What the number is called. Not of the form of a question.
    fn subject(self, first: Date) -> String {
        let (year, month, day) = first.to_calendar_date();
        match self {
            Self::Day => format!("budget day {year:04}-{:02}-{day:02}", u8::from(month)),
            Self::Month => format!("budget month {year:04}-{:02}", u8::from(month)),
        }
    }

    /// How long the store keeps it: longer than the window lasts, whenever that was begun.
    fn ttl(self) -> Duration {
        match self {
            Self::Day => 2 * DAY,
            Self::Month => 40 * DAY,
        }
    }

    fn reason(self) -> RefusedBecause {
        match self {
            Self::Day => RefusedBecause::Day,
            Self::Month => RefusedBecause::Month,
        }
    }
}

/// Who finds a window used up has counted all the same, once. All callers of a fleet are fewer than this.
const LATE_COMERS: u64 = 1_000_000;
/// By how much clocks of replicas may differ without a day getting too many calls at its ends.
const CLOCKS_DIFFER: Duration = Duration::from_mins(1);
/// Longer than it takes to find that a number lacks something and to add that.
const MAKING_UP: Duration = Duration::from_secs(5);

/// A day or a month, and what is known of it.
#[derive(Debug)]
struct Window {
    span: Span,
    part: Part,
    /// The first day of the window in which the process was started.
    started: Date,
    /// The first day of the window that the rest is about.
    first: Date,
    /// The highest result of the shared number.
    known: u64,
    /// How many calls of the own part were used.
    own_used: u64,
    /// Those of them near the end of the window: by another clock they are of the next one.
    own_near_end: u64,
    /// How many were left of the window before, less those near the beginning of this one.
    own_left_before: u64,
}

impl Window {
    fn new(span: Span, part: Part, today: Date) -> Self {
        let first = span.first(today);
        Self {
            span,
            part,
            started: first,
            first,
            known: 0,
            own_used: 0,
            own_near_end: 0,
            own_left_before: part.own.new,
        }
    }

    fn turn_to(&mut self, today: Date) {
        // Never back: monotonic time does not go there.
        let first = self.span.first(today);
        if first > self.first {
            self.own_left_before = self.own().saturating_sub(self.own_used);
            (self.first, self.known, self.own_used, self.own_near_end) = (first, 0, self.own_near_end, 0);
        }
    }

    fn own(&self) -> u64 {
        let own: Own = self.part.own;
        own.limit(self.first == self.started)
    }

    fn left(&self) -> u64 {
        self.part.shared.saturating_sub(self.known) + self.own().saturating_sub(self.own_used)
    }

    /// The first day of the window before or after this one, near the end that they share: by another replica's clock it may
    /// be that one, so a call counts in both.
    fn next_door(&self, now: OffsetDateTime) -> Option<Date> {
        let near = [now - CLOCKS_DIFFER, now + CLOCKS_DIFFER].map(|near| self.span.first(near.date()));
        near.into_iter().find(|first| *first != self.first)
    }

    /// When the own part opens again, if it is used up. Near the beginning, that of the window before has to suffice, too.
    fn own_opens(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let begins = |first: Date| first.with_time(Time::MIDNIGHT).assume_utc() + CLOCKS_DIFFER;
        if self.own_used >= self.own() {
            return Some(begins(self.span.next(self.first)));
        }
        let is_near_beginning = self.next_door(now).is_some_and(|first| first < self.first);
        (is_near_beginning && self.own_left_before == 0).then(|| begins(self.first))
    }

    fn note_own(&mut self, now: OffsetDateTime) {
        self.own_used += 1;
        match self.next_door(now) {
            Some(first) if first < self.first => self.own_left_before = self.own_left_before.saturating_sub(1),
            Some(_) => self.own_near_end += 1,
            None => {}
        }
    }

    /// The count of that neighbour.
    fn neighbour(&self, now: OffsetDateTime) -> Option<Counts> {
        let first = self.next_door(now)?;
        Some(Counts { subject: self.span.subject(first), known: 0, shared: self.part.shared, ttl: self.span.ttl() })
    }

    fn counts(&self) -> Counts {
        Counts {
            subject: self.span.subject(self.first),
            known: self.known,
            shared: self.part.shared,
            ttl: self.span.ttl(),
        }
    }
}

/// One number in the store.
struct Counts {
    subject: String,
    known: u64,
    /// How many calls of it may be made.
    shared: u64,
    ttl: Duration,
}

impl Counts {
    /// Adds `by` to it. Under several names the largest decides: each is at least what its users counted. A store that says
    /// less than is known here does not keep what it is told, and one that says far more than can have been counted is no
    /// help, either: then what is known here counts, or the own part.
    async fn raise(&self, ledger: &Notebook, by: u64) -> Result<u64, StoreError> {
        let at_least = self.known + by;
        let mut largest = at_least;
        let mut makes_up = None;
        for name in names_of(ledger, &self.subject) {
            let mut number = ledger.store.count(name.as_str(), self.known, by, self.ttl).await?;
            if number < at_least {
                // The store lost its data, or has a new name for the number, and somebody who knew less began anew.
                let may = match makes_up {
                    Some(may) => may,
                    None => self.may_make_up(ledger).await?,
                };
                makes_up = Some(may);
                if may {
                    number = ledger.store.count(name.as_str(), self.known, at_least - number, self.ttl).await?;
                }
            }
            largest = largest.max(number);
        }
        if largest > self.shared.saturating_add(LATE_COMERS) {
            tracing::error!("the store has counted more calls than there can have been: its count is not used");
            return Err(StoreError::Refused);
        }
        Ok(largest)
    }

    /// Whether it falls to this call to add what the number in the store lacks: of several at once each would add all of it,
    /// and calls would be counted that nobody made.
    async fn may_make_up(&self, ledger: &Notebook) -> Result<bool, StoreError> {
        let note = note_of(ledger, &format!("{} made up", self.subject));
        Ok(note.claim(&[], MAKING_UP).await? == NoteClaim::Ours)
    }

    /// Brings the number up to the same under all its names, and gives it.
    async fn level(self, ledger: &Notebook) -> Result<u64, StoreError> {
        let known = self.raise(ledger, 0).await?;
        Counts { known, ..self }.raise(ledger, 0).await
    }
}

/// A window that is used up, and how long it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UsedUp {
    pub(super) because: RefusedBecause,
    pub(super) lasts: Duration,
}

/// The windows that have a cap.
pub(super) struct Calendar {
    anchor: OffsetDateTime,
    anchored: Instant,
    windows: [Option<Mutex<Window>>; 2],
}

impl Calendar {
    pub(super) fn new(parts: &Parts, now_ms: u64, now: Instant) -> Self {
        let anchor = OffsetDateTime::from_unix_timestamp_nanos(i128::from(now_ms) * 1_000_000);
        let anchor = anchor.unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let window = |span, part: Option<Part>| Some(Mutex::new(Window::new(span, part?, anchor.date())));
        let windows = [window(Span::Day, parts.day), window(Span::Month, parts.month)];
        Self { anchor, anchored: now, windows }
    }

    fn utc(&self, now: Instant) -> OffsetDateTime {
        self.anchor + now.duration_since(self.anchored)
    }

    /// The windows, none of which is over at `now`.
    fn windows(&self, now: Instant) -> impl Iterator<Item = MutexGuard<'_, Window>> {
        let today = self.utc(now).date();
        self.windows.iter().flatten().map(move |window| {
            let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
            window.turn_to(today);
            window
        })
    }

    fn used_up(&self, window: &Window, now: Instant) -> UsedUp {
        let end = window.span.next(window.first).with_time(Time::MIDNIGHT).assume_utc();
        // By all clocks, not only by this one.
        let lasts = (end + CLOCKS_DIFFER - self.utc(now)).try_into().unwrap_or(Duration::ZERO);
        UsedUp { because: window.span.reason(), lasts }
    }

    /// The window whose shared part is known to be used up; the one that lasts longest.
    pub(super) fn shared_used_up(&self, now: Instant) -> Option<UsedUp> {
        let used_up = self.windows(now).filter(|window| window.known >= window.part.shared);
        used_up.map(|window| self.used_up(&window, now)).max_by_key(|used_up| used_up.lasts)
    }

    /// Takes a call of the shared parts, of all windows at once.
    pub(super) async fn take_shared(&self, ledger: &Notebook) -> Result<Option<UsedUp>, StoreError> {
        let [day, month] = &self.windows;
        let (day, month) = tokio::join!(self.take_of(ledger, day.as_ref()), self.take_of(ledger, month.as_ref()));
        Ok([day?, month?].into_iter().flatten().max_by_key(|used_up| used_up.lasts))
    }

    async fn take_of(&self, ledger: &Notebook, window: Option<&Mutex<Window>>) -> Result<Option<UsedUp>, StoreError> {
        let Some(window) = window else { return Ok(None) };
        let lock = || {
            let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
            window.turn_to(self.utc(Instant::now()).date());
            window
        };
        let (first, counts, neighbour) = {
            let window = lock();
            (window.first, window.counts(), window.neighbour(self.utc(Instant::now())))
        };
        let number = counts.raise(ledger, 1).await?;
        if let Some(neighbour) = neighbour
            && neighbour.raise(ledger, 1).await? > lock().part.shared
        {
            return Ok(Some(UsedUp { because: lock().span.reason(), lasts: CLOCKS_DIFFER }));
        }
        let mut window = lock();
        if window.first == first {
            window.known = window.known.max(number);
        }
        Ok((number > window.part.shared).then(|| self.used_up(&window, Instant::now())))
    }

    /// Tells a store that lost its data what is known here.
    pub(super) async fn restore(&self, ledger: &Notebook) -> Result<(), StoreError> {
        let known: Vec<_> = self.windows(Instant::now()).map(|window| window.counts()).collect();
        for counts in known.iter().filter(|counts| counts.known > 0) {
            counts.raise(ledger, 0).await?;
        }
        Ok(())
    }

    /// Brings the numbers under names that are new here up to those under the names before: who is started with the new
    /// names only knows nothing else.
    pub(super) async fn level(&self, ledger: &Notebook) -> Result<(), StoreError> {
        let windows: Vec<_> = self.windows(Instant::now()).map(|window| window.counts()).collect();
        for counts in windows {
            counts.level(ledger).await?;
        }
        Ok(())
    }

    /// The window whose own part is used up.
    pub(super) fn own_used_up(&self, now: Instant) -> Option<UsedUp> {
        let utc = self.utc(now);
        let used_up = self.windows(now).filter_map(|window| {
            let lasts = (window.own_opens(utc)? - utc).try_into().unwrap_or(Duration::ZERO);
            Some(UsedUp { because: window.span.reason(), lasts })
        });
        used_up.max_by_key(|used_up| used_up.lasts)
    }

    /// Notes a call of the own parts.
    pub(super) fn note_own(&self, now: Instant) {
        self.windows(now).for_each(|mut window| window.note_own(self.utc(now)));
    }

    /// Says how many calls are left, as known here.
    pub(super) fn tell(&self, now: Instant, left: &mut Left) {
        for window in self.windows(now) {
            match window.span {
                Span::Day => left.day = Some(window.left()),
                Span::Month => left.month = Some(window.left()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::epoch::Watch;
    use super::*;
    use crate::clock::Clock;
    use crate::crypto::{Keyring, generate_key_line};
    use crate::store::{MemoryStore, Reader, Store, StoreConfig};
    use crate::telemetry::Metrics;

    fn date(year: i32, month: u8, day: u8) -> Date {
        Date::from_calendar_date(year, Month::try_from(month).unwrap(), day).unwrap()
    }

    #[test]
    fn days_and_months_begin_and_end_where_the_calendar_says() {
        let names = |span: Span, date| (span.subject(span.first(date)), span.next(span.first(date)));
        let end_of_year = date(2026, 12, 31);
        assert_eq!(names(Span::Day, end_of_year), ("budget day 2026-12-31".to_owned(), date(2027, 1, 1)));
        assert_eq!(names(Span::Month, end_of_year), ("budget month 2026-12".to_owned(), date(2027, 1, 1)));
        assert_eq!(names(Span::Month, date(2028, 2, 29)), ("budget month 2028-02".to_owned(), date(2028, 3, 1)));
    }

    #[test]
    fn own_calls_are_of_all_windows_and_begin_anew_with_the_day() {
        // 2026-11-22, two minutes before midnight.
        let (now, now_ms) = (Instant::now(), 1_795_391_880_000);
        let part = |new, old| Some(Part { own: Own { new, old }, shared: 10 });
        let parts = Parts { own: Own { new: 0, old: 1 }, slots: 1, weight: 1, day: part(1, 2), month: part(3, 30) };
        let calendar = Calendar::new(&parts, now_ms, now);
        let take = |at| {
            let used_up = calendar.own_used_up(at);
            if used_up.is_none() {
                calendar.note_own(at);
            }
            used_up
        };
        assert_eq!(take(now), None);
        let day = UsedUp { because: RefusedBecause::Day, lasts: Duration::from_mins(3) };
        assert_eq!(take(now), Some(day));
        // By all clocks.
        let tomorrow = now + Duration::from_mins(3);
        assert_eq!((take(tomorrow), take(tomorrow)), (None, None));
        let month = UsedUp { because: RefusedBecause::Month, lasts: 8 * DAY };
        assert_eq!(take(tomorrow), Some(month));
    }

    #[test]
    fn own_calls_round_midnight_are_of_both_days_since_by_another_clock_it_is_the_other_one() {
        // 2026-11-22, half a minute before midnight.
        let (now, now_ms) = (Instant::now(), 1_795_391_970_000);
        let day = Some(Part { own: Own { new: 2, old: 3 }, shared: 10 });
        let parts = Parts { own: Own { new: 0, old: 1 }, slots: 1, weight: 1, day, month: None };
        let calendar = Calendar::new(&parts, now_ms, now);
        let secs = |secs| now + Duration::from_secs(secs);
        let take = |at| {
            let used_up = calendar.own_used_up(at);
            if used_up.is_none() {
                calendar.note_own(at);
            }
            used_up.map(|used_up| used_up.lasts)
        };
        // What is used up before midnight is not there again until it is midnight by every clock.
        assert_eq!((take(now), take(now)), (None, None));
        assert_eq!(take(now), Some(Duration::from_secs(90)));
        assert_eq!(take(secs(31)), Some(Duration::from_secs(59)));
        // And then less what was used near it.
        assert_eq!((take(secs(90)), take(secs(90))), (None, Some(DAY)));
        // Who has one left at midnight has that one round it.
        let later = Calendar::new(&parts, now_ms, now);
        later.note_own(now);
        later.note_own(secs(31));
        assert!(later.own_used_up(secs(32)).is_some() && later.own_used_up(secs(91)).is_none());
    }

    const NOON: u64 = 1_795_348_800_000;

    /// A ledger in that store with these keys.
    fn ledger(store: &MemoryStore, keys: &[&str]) -> Notebook {
        let clock = Clock::from_fn(|| NOON);
        let store = Store::start(StoreConfig::Shared(store.clone()), clock.clone(), Metrics::new());
        Notebook { store, keyring: Arc::new(Keyring::parse(&keys.join("\n")).unwrap()), clock }
    }

    fn calendar() -> Calendar {
        let part = Some(Part { own: Own { new: 0, old: 0 }, shared: 1_000 });
        let parts = Parts { own: Own { new: 0, old: 1 }, slots: 1, weight: 1, day: part, month: None };
        Calendar::new(&parts, NOON, Instant::now())
    }

    fn known(calendar: &Calendar) -> u64 {
        calendar.windows(Instant::now()).next().unwrap().known
    }

    #[tokio::test]
    async fn of_many_who_find_that_a_count_is_short_one_makes_up_for_it() {
        let (old, new) = (generate_key_line().unwrap(), generate_key_line().unwrap());
        for keys in [&[old.as_str()][..], &[&old, &new]] {
            let store = MemoryStore::new(Clock::from_fn(|| NOON));
            let (before, now) = (ledger(&store, &[&old]), ledger(&store, keys));
            let (one, late) = (calendar(), calendar());
            for _ in 0..500 {
                assert_eq!(one.take_shared(&before).await, Ok(None));
            }
            if keys.len() == 1 {
                store.lose_everything();
            }
            // It knows nothing, and begins what is new or was lost.
            assert_eq!(late.take_shared(&now).await, Ok(None));
            let taken = futures_util::future::join_all((0..8).map(|_| one.take_shared(&now))).await;
            assert!(taken.iter().all(|taken| *taken == Ok(None)), "{} keys: {taken:?}", keys.len());
            assert!((501..=509).contains(&known(&one)), "{} keys: {}", keys.len(), known(&one));
        }
    }

    #[tokio::test]
    async fn a_rotation_by_restarts_in_a_quiet_hour_forgets_no_call_of_the_day() {
        let (old, new) = (generate_key_line().unwrap(), generate_key_line().unwrap());
        let store = MemoryStore::new(Clock::from_fn(|| NOON));
        let looks = async |keys: &[&str]| {
            let (ledger, calendar) = (ledger(&store, keys), calendar());
            let watch = Watch::new(1, DAY, Instant::now());
            watch.look(&ledger, &calendar, Reader::Background).await.unwrap();
            (ledger, calendar)
        };
        let (ledger, before) = looks(&[&old]).await;
        for _ in 0..500 {
            assert_eq!(before.take_shared(&ledger).await, Ok(None));
        }
        looks(&[&old, &new]).await;
        looks(&[&new, &old]).await;
        let (ledger, after) = looks(&[&new]).await;
        assert_eq!(after.take_shared(&ledger).await, Ok(None));
        assert_eq!(known(&after), 501);
    }
}
