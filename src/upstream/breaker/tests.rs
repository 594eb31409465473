//! What the breaker promises, each with a time that is passed in.

use super::*;
use proptest::prelude::*;
use proptest::sample::Index;

const LOW: fn() -> f64 = || 0.0;
const HIGH: fn() -> f64 = || 1.0;
const TICK: Duration = Duration::from_nanos(1);

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn breaker(random: fn() -> f64) -> (Arc<Breaker>, Instant) {
    (Arc::new(Breaker { random, ..Breaker::new(Settings::default()) }), Instant::now())
}

fn admit(breaker: &Arc<Breaker>, now: Instant) -> Admission {
    breaker.admit(now).unwrap()
}

/// Lets calls fail until it opens; how long for.
fn open(breaker: &Arc<Breaker>, now: Instant) -> Duration {
    (0..4).for_each(|_| assert_eq!(admit(breaker, now).failed(now), Change::None));
    let Change::Opened(Reason::Failing, pause) = admit(breaker, now).failed(now) else { panic!("not opened") };
    pause
}

fn seen(breaker: &Breaker, now: Instant) -> (State, Option<Reason>, Option<u64>) {
    let Snapshot { state, reason, reopens_in } = breaker.state(now);
    (state, reason, reopens_in.map(|left| left.as_secs()))
}

/// The pauses, in seconds, when every probe ends like this, each sent as soon as it may be.
fn ladder(random: fn() -> f64, calls: usize, end: impl Fn(Admission, Instant) -> Change) -> Vec<f64> {
    let settings = Settings { consecutive_failures: 1, ..Settings::default() };
    let (breaker, mut now) = (Arc::new(Breaker { random, ..Breaker::new(settings) }), Instant::now());
    let pauses = (0..calls).map(|_| {
        let Change::Opened(_, pause) = end(admit(&breaker, now), now) else { panic!("not opened") };
        now += pause;
        assert!(breaker.admit(now - TICK).is_err());
        pause.as_secs_f64()
    });
    pauses.collect()
}

#[test]
fn it_opens_after_five_failures_in_a_row_and_a_success_breaks_the_row() {
    let (breaker, now) = breaker(HIGH);
    (0..4).for_each(|_| assert_eq!(admit(&breaker, now).failed(now), Change::None));
    assert_eq!(admit(&breaker, now).succeeded(now), Change::None);
    assert_eq!(seen(&breaker, now), (State::Admitting, None, None));
    assert_eq!(open(&breaker, now), s(1));
    assert_eq!(seen(&breaker, now), (State::Rejecting, Some(Reason::Failing), Some(1)));
    let rejected = Rejected { reason: Reason::Failing, retry_after: s(1) };
    assert_eq!(breaker.admit(now).unwrap_err(), rejected);
}

#[test]
fn it_opens_when_half_of_twenty_recent_calls_failed_and_forgets_older_ones() {
    let (breaker, mut now) = breaker(HIGH);
    let pair = |now| (admit(&breaker, now).failed(now), admit(&breaker, now).succeeded(now));
    // Nine of eighteen, again and again, but never twenty within the window.
    for _ in 0..3 {
        (0..9).for_each(|_| assert_eq!(pair(now), (Change::None, Change::None)));
        now += s(60);
    }
    (0..9).for_each(|_| assert_eq!(pair(now), (Change::None, Change::None)));
    now += s(49);
    // The nineteenth says too little, the twentieth enough; it need not be the one that fails.
    assert_eq!(pair(now), (Change::None, Change::Opened(Reason::Failing, s(1))));
}

#[test]
fn it_stays_closed_when_fewer_than_half_of_many_calls_fail() {
    let (breaker, now) = breaker(HIGH);
    assert_eq!(admit(&breaker, now).succeeded(now), Change::None);
    for _ in 0..100 {
        assert_eq!(admit(&breaker, now).succeeded(now), Change::None);
        assert_eq!(admit(&breaker, now).failed(now), Change::None);
    }
}

#[test]
fn its_memory_is_bounded_and_reaches_back_the_window() {
    let (breaker, start) = breaker(HIGH);
    for second in 0..600 {
        let now = start + s(second);
        assert_eq!(admit(&breaker, now).succeeded(now), Change::None);
        let calls = breaker.lock().window.iter().map(|part| part.calls).sum::<u64>();
        assert!(breaker.lock().window.len() <= 6 && (50.min(second)..=60).contains(&calls));
    }
}

#[test]
fn a_breaker_that_is_open_lets_one_probe_through_at_a_time() {
    let (breaker, mut now) = breaker(HIGH);
    now += open(&breaker, now);
    assert!(breaker.admit(now - TICK).is_err());
    assert_eq!(seen(&breaker, now), (State::Rejecting, Some(Reason::Failing), Some(0)));
    let probe = admit(&breaker, now);
    assert_eq!(seen(&breaker, now), (State::Probing, Some(Reason::Failing), None));
    let retry_after = |now| breaker.admit(now).unwrap_err().retry_after;
    assert_eq!((retry_after(now), retry_after(now + s(99))), (s(2), s(2)));
    assert_eq!(probe.failed(now), Change::Opened(Reason::Failing, s(2)));
    assert!(breaker.admit(now + s(2) - TICK).is_err());
    let _probe = admit(&breaker, now + s(2));
    assert_eq!(retry_after(now + s(2)), s(4));
}

#[test]
fn those_who_meet_a_probe_are_told_to_wait_a_second_at_least() {
    let settings = Settings { first_pause: s(1) / 10, ..Settings::default() };
    let (breaker, now) = (Arc::new(Breaker::new(settings)), Instant::now());
    let now = now + open(&breaker, now);
    let _probe = admit(&breaker, now);
    assert_eq!(breaker.admit(now).unwrap_err().retry_after, s(1));
}

#[test]
fn a_probe_that_succeeds_closes_it_and_all_is_forgotten() {
    let (breaker, mut now) = breaker(HIGH);
    now += open(&breaker, now);
    for pause in [2, 4] {
        assert_eq!(admit(&breaker, now).failed(now), Change::Opened(Reason::Failing, s(pause)));
        now += s(pause);
    }
    assert_eq!(admit(&breaker, now).succeeded(now), Change::Closed);
    assert_eq!(seen(&breaker, now), (State::Admitting, None, None));
    // Neither the failures before (at once) nor the step (1 s again) are remembered.
    assert_eq!(open(&breaker, now), s(1));
}

#[test]
fn a_cancelled_call_counts_for_nothing_and_a_cancelled_probe_gives_its_place_back() {
    let (breaker, mut now) = breaker(HIGH);
    (0..50).for_each(|_| admit(&breaker, now).cancelled());
    now += open(&breaker, now);
    admit(&breaker, now).cancelled();
    assert_eq!(seen(&breaker, now), (State::Rejecting, Some(Reason::Failing), Some(0)));
    assert_eq!(admit(&breaker, now).succeeded(now), Change::Closed);
}

#[tokio::test(start_paused = true)]
async fn an_admission_that_is_dropped_counts_as_failed() {
    let (breaker, mut now) = breaker(HIGH);
    (0..5).for_each(|_| drop(admit(&breaker, now)));
    assert_eq!(seen(&breaker, now), (State::Rejecting, Some(Reason::Failing), Some(1)));
    tokio::time::advance(s(1)).await;
    now += s(1);
    let probe = admit(&breaker, now);
    assert!(tokio::spawn(async move { panic!("{probe:?}") }).await.is_err());
    assert_eq!(seen(&breaker, now), (State::Rejecting, Some(Reason::Failing), Some(2)));
}

#[test]
fn each_failed_probe_doubles_the_pause_up_to_the_longest_and_jitter_takes_at_most_half() {
    let failed = |random| ladder(random, 9, Admission::failed);
    assert_eq!(failed(HIGH), [1., 2., 4., 8., 16., 32., 60., 60., 60.]);
    assert_eq!(failed(LOW), [0.5, 1., 2., 4., 8., 16., 30., 30., 30.]);
}

#[test]
fn each_429_to_a_probe_doubles_the_pause_up_to_an_hour_and_jitter_only_adds_a_tenth() {
    let limited = |random| ladder(random, 8, |call, now| call.rate_limited(now, s(1)));
    assert_eq!(limited(LOW), [60., 120., 240., 480., 960., 1_920., 3_600., 3_600.]);
    assert_eq!(limited(HIGH), [66., 132., 264., 528., 1_056., 2_112., 3_960., 3_960.]);
}

#[test]
fn each_401_to_a_probe_doubles_the_pause_up_to_ten_minutes_and_jitter_only_adds_a_tenth() {
    assert_eq!(ladder(LOW, 6, Admission::key_rejected), [60., 120., 240., 480., 600., 600.]);
    assert_eq!(ladder(HIGH, 6, Admission::key_rejected), [66., 132., 264., 528., 660., 660.]);
}

#[test]
fn a_429_is_never_answered_with_less_than_its_retry_after() {
    let limited = |wait| ladder(LOW, 3, |call, now| call.rate_limited(now, s(wait)));
    assert_eq!(limited(100), [100., 120., 240.]);
    assert_eq!(limited(7_200), [7_200., 7_200., 7_200.]);
    let (breaker, now) = breaker(HIGH);
    let _ = admit(&breaker, now).rate_limited(now, Duration::MAX);
    assert!(breaker.admit(now + YEAR - TICK).is_err() && breaker.admit(now + YEAR).is_ok());
}

#[test]
fn late_successes_and_failures_are_ignored_whatever_the_state() {
    let (breaker, now) = breaker(HIGH);
    let mut late: Vec<_> = (0..50).map(|_| admit(&breaker, now)).collect();
    let mut settle = |now| {
        let before = breaker.state(now);
        assert_eq!(late.pop().unwrap().succeeded(now), Change::None);
        (0..9).for_each(|_| assert_eq!(late.pop().unwrap().failed(now), Change::None));
        assert_eq!(breaker.state(now), before);
    };
    let reopened = now + open(&breaker, now);
    settle(now);
    settle(reopened);
    let probe = admit(&breaker, reopened);
    settle(reopened);
    assert_eq!(breaker.admit(reopened).unwrap_err().retry_after, s(2));
    assert_eq!(probe.succeeded(reopened), Change::Closed);
    settle(reopened);
}

#[test]
fn a_late_429_or_401_bars_in_every_state_and_each_pause_is_told_once() {
    let limited = Change::Opened(Reason::RateLimited, s(60));
    let (breaker, now) = breaker(LOW);
    let late: [_; 5] = std::array::from_fn(|_| admit(&breaker, now));
    let [first, second, third, fourth, fifth] = late;
    let now = now + open(&breaker, now);
    let probe = admit(&breaker, now);
    assert_eq!(first.rate_limited(now, s(0)), limited);
    // Longer, and not told again.
    assert_eq!(second.rate_limited(now + s(9), s(0)), Change::None);
    assert_eq!(seen(&breaker, now), (State::Rejecting, Some(Reason::RateLimited), Some(69)));
    // The probe is older than the pause: it does not end it.
    assert_eq!(probe.succeeded(now), Change::None);
    assert_eq!(third.key_rejected(now + s(10)), Change::Opened(Reason::KeyRejected, s(60)));
    // What would end sooner does not shorten it.
    assert_eq!(fourth.rate_limited(now + s(9), s(0)), Change::None);
    assert_eq!(seen(&breaker, now), (State::Rejecting, Some(Reason::KeyRejected), Some(70)));
    let now = now + s(70);
    assert_eq!(admit(&breaker, now).succeeded(now), Change::Closed);
    assert_eq!(fifth.rate_limited(now, s(0)), limited);
}

#[test]
fn a_probe_that_outlasts_a_new_pause_keeps_others_waiting_and_decides_nothing() {
    let (breaker, now) = breaker(LOW);
    let now = now + open(&breaker, now);
    let probe = admit(&breaker, now);
    assert_eq!(breaker.hold(now, Reason::RateLimited, s(5)), Change::Opened(Reason::RateLimited, s(5)));
    assert_eq!(seen(&breaker, now), (State::Rejecting, Some(Reason::RateLimited), Some(5)));
    assert!(breaker.admit(now + s(5)).is_err());
    assert_eq!(seen(&breaker, now + s(5)), (State::Probing, Some(Reason::RateLimited), None));
    assert_eq!(probe.succeeded(now + s(5)), Change::None);
    assert_eq!(admit(&breaker, now + s(5)).succeeded(now + s(5)), Change::Closed);
}

#[test]
fn it_is_held_for_another_replica_unless_it_rejects_for_longer() {
    let (breaker, now) = breaker(LOW);
    let hold = |reason, seconds| breaker.hold(now, reason, s(seconds));
    assert_eq!(hold(Reason::RateLimited, 0), Change::None);
    assert_eq!(seen(&breaker, now), (State::Admitting, None, None));
    assert_eq!(hold(Reason::KeyRejected, 90), Change::Opened(Reason::KeyRejected, s(90)));
    assert_eq!(hold(Reason::RateLimited, 80), Change::None);
    assert_eq!(seen(&breaker, now), (State::Rejecting, Some(Reason::KeyRejected), Some(90)));
    assert_eq!(hold(Reason::RateLimited, 100), Change::Opened(Reason::RateLimited, s(100)));
    assert!(breaker.admit(now + s(100) - TICK).is_err());
    // The other replica's pause was the first step.
    let now = now + s(100);
    let again = admit(&breaker, now).rate_limited(now, s(0));
    assert_eq!(again, Change::Opened(Reason::RateLimited, s(120)));
}

#[test]
fn states_and_reasons_have_names_for_metrics() {
    let states = [State::Admitting, State::Rejecting, State::Probing].map(State::as_str);
    assert_eq!(states, ["admitting", "rejecting", "probing"]);
    let reasons = [Reason::Failing, Reason::RateLimited, Reason::KeyRejected].map(Reason::as_str);
    assert_eq!(reasons, ["failing", "rate_limited", "key_rejected"]);
}

proptest! {
    #[test]
    fn whatever_happens_one_probe_is_out_and_no_pause_is_cut_short_and_none_lasts_for_ever(
        random in prop::sample::select(vec![LOW, HIGH]),
        steps in prop::collection::vec(
            (0..10_u8, any::<Index>(), prop_oneof![Just(0), 0..2_000_u64, 0..150_000_u64]), 0..200),
    ) {
        let settings = Settings { consecutive_failures: 2, ..Settings::default() };
        let breaker = Arc::new(Breaker { random, ..Breaker::new(settings) });
        let mut now = Instant::now();
        let (mut barred, mut out) = (now, Vec::<(Admission, bool)>::new());
        for (action, which, wait) in steps {
            now += Duration::from_millis(wait);
            let before = breaker.state(now);
            let probing = out.iter().any(|(_, probe)| *probe);
            if action < 4 {
                match breaker.admit(now) {
                    Ok(call) => {
                        let probe = before.state != State::Admitting;
                        prop_assert!(now >= barred && !(probe && probing));
                        out.push((call, probe));
                    }
                    Err(rejected) => prop_assert!((probing || now < barred) && !rejected.retry_after.is_zero()),
                }
                continue;
            }
            if action == 4 {
                let _ = breaker.hold(now, Reason::RateLimited, s(30));
                barred = barred.max(now + s(30));
                continue;
            }
            if out.is_empty() {
                continue;
            }
            let (call, _) = out.swap_remove(which.index(out.len()));
            let change = match action {
                5 => call.succeeded(now),
                6 | 7 => call.failed(now),
                8 if wait % 2 == 0 => call.rate_limited(now, s(0)),
                8 => call.key_rejected(now),
                _ => {
                    call.cancelled();
                    Change::None
                }
            };
            if action == 8 {
                barred = barred.max(now + s(60));
                prop_assert!(breaker.admit(barred - TICK).is_err());
            }
            if let Change::Opened(_, pause) = change {
                barred = barred.max(now + pause);
            }
            barred = breaker.state(now).reopens_in.map_or(barred, |left| barred.max(now + left));
        }
        out.into_iter().for_each(|(call, _)| call.cancelled());
        prop_assert!(breaker.admit(now + s(4_000)).is_ok());
    }
}
