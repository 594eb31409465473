//! What a simulated day is like.

use std::ops::Range;
use std::time::Duration;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The store cannot be used, and when it is back it has nothing left.
    StoreAway,
    /// The upstream fails.
    Failing,
    /// The upstream says 429.
    RateLimited,
}

/// What is promised of the popular places.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Promise {
    /// At least this share of the requests for them is answered.
    pub(crate) answered: f64,
    /// 95 of 100 answers are not older.
    pub(crate) age: Duration,
}

/// A day. All times are since its beginning, which is a midnight of UTC; what comes before is to get warm, and not measured.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) title: &'static str,
    pub(crate) warm_up: Duration,
    pub(crate) lasts: Duration,
    /// At most 8.
    pub(crate) replicas: usize,
    pub(crate) places: usize,
    /// How many of them count as popular.
    pub(crate) popular: usize,
    /// Calls of all replicas in any minute.
    pub(crate) per_minute: u32,
    /// Calls of all replicas in a day of UTC; 0 for no cap.
    pub(crate) per_day: u64,
    /// By how much a cache without a budget would call more.
    pub(crate) overload: f64,
    /// Whether somebody asks for a new made-up place all the time.
    pub(crate) scanner: bool,
    pub(crate) troubles: Vec<(Range<Duration>, Trouble)>,
    /// How often one replica, each in its turn, is restarted.
    pub(crate) restart_every: Duration,
    pub(crate) promise: Promise,
}

impl Plan {
    /// 24 hours, from nothing.
    pub(crate) fn whole_day() -> Self {
        let troubles = vec![
            (3 * HOUR..3 * HOUR + 10 * MINUTE, Trouble::StoreAway),
            (8 * HOUR..10 * HOUR, Trouble::Failing),
            (15 * HOUR..15 * HOUR + 10 * MINUTE, Trouble::StoreAway),
            (18 * HOUR..18 * HOUR + 10 * MINUTE, Trouble::RateLimited),
        ];
        Self {
            title: "a whole day",
            warm_up: Duration::ZERO,
            lasts: 24 * HOUR,
            replicas: 8,
            places: 100_000,
            popular: 1_000,
            per_minute: 60,
            per_day: 0,
            overload: 10.0,
            scanner: true,
            troubles,
            restart_every: 4 * HOUR,
            promise: Promise { answered: 0.99, age: 30 * MINUTE },
        }
    }

    /// Two thirds of an hour after as much to get warm, with the same troubles, each of them shorter, and with less of
    /// everything. What is learnt from nothing in so short a time is little, so less is promised.
    pub(crate) fn short_day() -> Self {
        let troubles = vec![
            (5 * MINUTE..7 * MINUTE, Trouble::StoreAway),
            (12 * MINUTE..16 * MINUTE, Trouble::Failing),
            (25 * MINUTE..27 * MINUTE, Trouble::StoreAway),
            (33 * MINUTE..36 * MINUTE, Trouble::RateLimited),
        ];
        Self {
            title: "a short day",
            warm_up: 40 * MINUTE,
            lasts: 40 * MINUTE,
            replicas: 3,
            places: 10_000,
            popular: 100,
            per_minute: 15,
            troubles,
            restart_every: 10 * MINUTE,
            promise: Promise { answered: 0.75, age: 60 * MINUTE },
            ..Self::whole_day()
        }
    }

    /// Some minutes before midnight and some after it, with calls for less.
    pub(crate) fn short_of_calls() -> Self {
        let part = 10 * MINUTE;
        Self { warm_up: part, lasts: part, per_day: 90, troubles: Vec::new(), ..Self::short_day() }
    }

    /// Long enough to see what a scanner takes from the others.
    pub(crate) fn some_hours() -> Self {
        Self { warm_up: HOUR, lasts: 3 * HOUR, ..Self::whole_day() }
    }

    /// The same, shorter.
    pub(crate) fn some_minutes() -> Self {
        Self { warm_up: 5 * MINUTE, lasts: 20 * MINUTE, ..Self::short_day() }
    }

    /// When there is this trouble.
    pub(crate) fn times_of(&self, trouble: Trouble) -> impl Iterator<Item = &Range<Duration>> {
        self.troubles.iter().filter(move |(_, what)| *what == trouble).map(|(when, _)| when)
    }
}
