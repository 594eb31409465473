//! What the cache owes: what it was given to keep, what was purged, and the rules that every answer is held to.

use std::collections::BTreeSet;
use std::mem::discriminant;
use std::time::Duration;

use stratus::cache::{Answer, Content, Freshness, GetError, Origin, Policy, Windows};
use stratus::weather::{Failure, SourceError};

use super::source::{Diary, End, KEYS, Word};

/// What is wrong, if anything.
pub(super) type Verdict = Result<(), String>;

fn hold(promise: bool, broken: impl FnOnce() -> String) -> Verdict {
    if promise { Ok(()) } else { Err(broken()) }
}

/// The memory level of the cache under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    Off,
    /// So small that records are dropped all the time: nothing in it can be relied on.
    Small,
    /// Large enough for all.
    Ample,
}

/// A caller.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) key: usize,
    pub(super) tick: u64,
}

/// What the caller got.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) tick: u64,
    pub(super) result: Result<Answer, GetError>,
}

/// A record that a level has for certain.
#[derive(Debug, Clone)]
struct Held {
    number: usize,
    fetched_at_ms: u64,
    /// At least these: the jitter is not known beforehand.
    windows: Windows,
    since: u64,
}

impl Held {
    fn freshness(&self, now_ms: u64) -> Freshness {
        self.windows.freshness(self.fetched_at_ms, now_ms)
    }
}

struct Purge {
    began: u64,
    ended: u64,
    /// The questions whose records are gone; none if it failed.
    of: [bool; KEYS],
}

#[derive(Default)]
struct Account {
    in_memory: Option<Held>,
    on_shelf: Option<Held>,
    /// Numbers that were given and kept, and when, since memory was emptied last.
    given: Vec<(u64, usize)>,
    /// Numbers that were given to the caller who led the load.
    led: BTreeSet<usize>,
    /// The windows of the newest answer.
    newest: Option<(u64, Windows)>,
    /// Calls that are in the books.
    booked: usize,
    /// A caller read the store before the latest call ended, and was answered after it.
    read_late: bool,
}

/// The books of one case.
pub(super) struct Ledger {
    pub(super) policy: Policy,
    memory: Memory,
    /// Whether the store can be used.
    pub(super) up: bool,
    /// What the clock said, and from when on.
    moments: Vec<(u64, u64)>,
    purges: Vec<Purge>,
    all_purged_at_ms: u64,
    /// When memory was emptied last.
    emptied: u64,
    accounts: [Account; KEYS],
    /// Ways to be answered that occurred.
    pub(super) seen: BTreeSet<&'static str>,
}

impl Ledger {
    pub(super) fn new(policy: Policy, memory: Memory, now_ms: u64) -> Self {
        let (moments, accounts) = (vec![(0, now_ms)], Default::default());
        let (purges, all_purged_at_ms, emptied, seen) = (Vec::new(), 0, 0, BTreeSet::new());
        Self { policy, memory, up: true, moments, purges, all_purged_at_ms, emptied, accounts, seen }
    }

    fn now_ms(&self) -> u64 {
        self.moments[self.moments.len() - 1].1
    }

    pub(super) fn time_passed(&mut self, tick: u64, now_ms: u64) {
        self.moments.push((tick, now_ms));
    }

    /// What the clock said between two events.
    fn moments(&self, from: u64, to: u64) -> &[(u64, u64)] {
        let first = self.moments.partition_point(|(tick, _)| *tick <= from) - 1;
        &self.moments[first..self.moments.partition_point(|(tick, _)| *tick <= to)]
    }

    /// When a window of the newest answer to a question ends.
    pub(super) fn edge(&self, key: usize, window: usize) -> Option<u64> {
        let (fetched_at_ms, windows) = self.accounts[key].newest?;
        let parts = [windows.fresh, windows.stale_while_revalidate, windows.stale_if_error];
        let age: Duration = parts[..=window].iter().sum();
        Some(fetched_at_ms + u64::try_from(age.as_millis()).expect("a short time"))
    }

    /// Memory was emptied, by a purge, a restart or the mark of a purge.
    pub(super) fn memory_emptied(&mut self, tick: u64) {
        self.emptied = tick;
        for account in &mut self.accounts {
            account.in_memory = None;
            account.given.clear();
        }
    }

    /// The store lost everything.
    pub(super) fn shelf_emptied(&mut self) {
        for account in &mut self.accounts {
            account.on_shelf = None;
        }
    }

    /// Somebody purged these questions, and so all memory, or tried to and failed.
    pub(super) fn purged(&mut self, began: u64, ended: u64, of: Option<[bool; KEYS]>) {
        if of.is_some() {
            self.memory_emptied(ended);
        }
        let of = of.unwrap_or_default();
        for (account, gone) in self.accounts.iter_mut().zip(of) {
            account.on_shelf.take_if(|_| gone);
        }
        if of == [true; KEYS] {
            self.all_purged_at_ms = self.now_ms();
        }
        self.purges.push(Purge { began, ended, of });
    }

    /// The record that a caller must find, if it is still good for that.
    fn held(&self, key: usize) -> Option<&Held> {
        let Account { in_memory, on_shelf, .. } = &self.accounts[key];
        in_memory.as_ref().or(on_shelf.as_ref().filter(|_| self.up))
    }

    /// Whether there is a copy that is fresh for more than the last tenth of its time: then nobody needs to ask.
    pub(super) fn is_fresh(&self, key: usize) -> bool {
        self.held(key).is_some_and(|held| {
            let ahead = Windows { fresh: held.windows.fresh * 9 / 10, ..held.windows };
            ahead.freshness(held.fetched_at_ms, self.now_ms()) == Freshness::Fresh
        })
    }

    /// Whether there is a copy that is fresh or may be given while it is renewed: then nobody needs to wait.
    pub(super) fn is_enough(&self, key: usize) -> bool {
        let freshness = self.held(key).map(|held| held.freshness(self.now_ms()));
        matches!(freshness, Some(Freshness::Fresh | Freshness::Renew))
    }

    /// Puts calls that have ended, and all that follows from them, into the books.
    pub(super) fn settle(&mut self, tick: u64, diary: &Diary) -> Verdict {
        hold(!diary.crossed, || "two calls about one question were under way at once".into())?;
        for (key, calls) in diary.calls.iter().enumerate() {
            for number in self.accounts[key].booked + 1..=calls.len() {
                let call = &calls[number - 1];
                let end = call.end.as_ref().ok_or("a call was dropped before its end")?;
                self.book(key, number, end, self.overtaken((call.began, tick)), tick);
            }
            self.accounts[key].booked = calls.len();
        }
        Ok(())
    }

    /// Whether there was a purge within this span, or an attempt. What was asked before a purge is not kept after it, so
    /// something older about a place that was not purged may be found again.
    fn overtaken(&self, (began, ended): (u64, u64)) -> bool {
        self.purges.iter().any(|purge| purge.ended > began && purge.began < ended)
    }

    fn book(&mut self, key: usize, number: usize, end: &End, overtaken: bool, since: u64) {
        let Some(windows) = self.least_windows(&end.word).filter(|windows| !windows.fresh.is_zero()) else { return };
        let (up, memory, hidden) = (self.up, self.memory, end.at_ms <= self.all_purged_at_ms);
        let account = &mut self.accounts[key];
        if overtaken {
            account.on_shelf = None;
            return;
        }
        // A small memory may have dropped this record at once and then kept the older one that was read late. Who asks next
        // gets that once more, and it is renewed from the store.
        let since = if std::mem::take(&mut account.read_late) { u64::MAX } else { since };
        let held = Held { number, fetched_at_ms: end.at_ms, windows, since };
        if memory == Memory::Ample {
            account.in_memory = Some(held.clone());
        }
        if up {
            account.on_shelf = (!hidden).then_some(held);
        }
    }

    /// The windows of an answer, at their shortest.
    fn least_windows(&self, word: &Word) -> Option<Windows> {
        let Policy { fresh, stale_while_revalidate, stale_if_error, not_found, jitter_percent } = self.policy;
        let (fresh, stale_while_revalidate, stale_if_error) = match word {
            Word::Weather(_) => (fresh, stale_while_revalidate, stale_if_error),
            Word::Unknown => (not_found, Duration::ZERO, Duration::ZERO),
            Word::Failed(_) | Word::Panicked => return None,
        };
        let fresh = fresh * (100 - jitter_percent) / 100;
        Some(Windows { fresh, stale_while_revalidate, stale_if_error })
    }

    /// Holds what a caller got to every rule.
    pub(super) fn judge(&mut self, diary: &Diary, asked: Asked, got: &Got) -> Verdict {
        match &got.result {
            Ok(answer) => self.judge_answer(diary, asked, got.tick, answer),
            Err(error) => self.judge_error(diary, asked, got.tick, error.clone()),
        }
    }

    /// Memory alone had nothing to say.
    pub(super) fn judge_silence(&self, key: usize) -> Verdict {
        let kept = self.accounts[key].in_memory.as_ref().map(|held| held.freshness(self.now_ms()));
        // Of a stale one that may not be asked anew now, the store is looked at first.
        hold(kept != Some(Freshness::Fresh), || "memory lost a record".into())
    }

    fn judge_answer(&mut self, diary: &Diary, asked: Asked, tick: u64, answer: &Answer) -> Verdict {
        let (number, end) = said(diary, asked.key, answer).ok_or("the upstream never said this, or not then")?;
        self.judge_windows(&end.word, answer)?;
        self.judge_freshness(diary, asked, tick, answer, end)?;
        self.judge_number(asked, number, end)?;
        if let Origin::Source { collapsed: false, .. } = answer.origin {
            let first = self.accounts[asked.key].led.insert(number);
            hold(first, || format!("two callers led call {number}"))?;
        }
        let call = (diary.calls[asked.key][number - 1].began, end.tick);
        let newer = |(newer, end): (usize, &End)| newer > number && (asked.tick..tick).contains(&end.tick);
        self.accounts[asked.key].read_late |= self.memory == Memory::Small && diary.ends(asked.key).any(newer);
        self.note(asked, tick, number, answer, call);
        Ok(())
    }

    /// What follows from an answer for those that come later.
    fn note(&mut self, asked: Asked, tick: u64, number: usize, answer: &Answer, call: (u64, u64)) {
        let since_emptied = tick > self.emptied;
        let (kept, found) = (!self.overtaken(call), !self.overtaken((asked.tick, tick)));
        let Answer { fetched_at_ms, windows, origin, .. } = *answer;
        let account = &mut self.accounts[asked.key];
        account.newest = Some((fetched_at_ms, windows));
        if let Some(held) = account.on_shelf.as_mut().filter(|held| held.number <= number) {
            held.since = held.since.min(tick);
        }
        if since_emptied && kept {
            account.given.push((tick, number));
        }
        // What is found in Redis is in memory from then on.
        let found = since_emptied && found;
        if self.memory == Memory::Ample && found && matches!(origin, Origin::Fresh("redis") | Origin::Stale("redis")) {
            account.in_memory.get_or_insert(Held { number, fetched_at_ms, windows, since: tick });
        }
    }

    /// The windows are those of the policy, less the jitter.
    fn judge_windows(&self, word: &Word, answer: &Answer) -> Verdict {
        let least = self.least_windows(word).expect("it is an answer");
        let most = if *word == Word::Unknown { self.policy.not_found } else { self.policy.fresh };
        let Windows { fresh, stale_while_revalidate, stale_if_error } = answer.windows;
        let rest = (stale_while_revalidate, stale_if_error);
        let right = (least.fresh..=most).contains(&fresh);
        hold(right && rest == (least.stale_while_revalidate, least.stale_if_error), || "wrong windows".into())
    }

    /// Fresh is fresh, stale is stale and not dead, and nothing but a failure makes a copy beyond renewal an answer.
    fn judge_freshness(&mut self, diary: &Diary, asked: Asked, tick: u64, answer: &Answer, end: &End) -> Verdict {
        let at = |now_ms| answer.windows.freshness(answer.fetched_at_ms, now_ms);
        let moments = self.moments(asked.tick, tick).iter().filter(|(_, ms)| *ms >= answer.fetched_at_ms);
        let it_was: Vec<_> = moments.map(|(_, ms)| at(*ms)).collect();
        let is_held = self.moments(asked.tick, tick).iter().any(|(_, ms)| diary.held(asked.key, tick, *ms).is_some());
        let failed_then = |(_, end): (usize, &End)| {
            let failure = matches!(end.word, Word::Failed(_) | Word::Panicked);
            failure && (asked.tick..=tick).contains(&end.tick) && at(end.at_ms) == Freshness::Fallback
        };
        let (right, way) = match (answer.origin, &answer.content) {
            (Origin::Fresh(_), Content::UnknownPlace(_)) => (it_was.contains(&Freshness::Fresh), "negative"),
            (Origin::Fresh(level), Content::Weather(_)) => (it_was.contains(&Freshness::Fresh), level),
            (Origin::Stale(_), Content::UnknownPlace(_)) => (false, ""),
            (Origin::Stale(_), Content::Weather(_)) if it_was.contains(&Freshness::Renew) => (true, "renewed"),
            (Origin::Stale(_), Content::Weather(_)) => (is_held || diary.ends(asked.key).any(failed_then), "fallback"),
            (Origin::Source { collapsed: true, .. }, _) => (end.tick > asked.tick, "collapsed"),
            (Origin::Source { .. }, Content::Weather(_)) => (end.tick > asked.tick, "source"),
            (Origin::Source { .. }, Content::UnknownPlace(_)) => (end.tick > asked.tick, "unknown"),
        };
        self.seen.insert(way);
        hold(right, || format!("given as {:?}, but it was {it_was:?}", answer.origin))
    }

    /// Nothing older than what was given or kept before, and nothing that was purged.
    fn judge_number(&self, asked: Asked, number: usize, end: &End) -> Verdict {
        let account = &self.accounts[asked.key];
        let given = account.given.iter().filter(|(tick, _)| *tick < asked.tick).map(|(_, number)| *number).max();
        if self.memory == Memory::Ample {
            hold(Some(number) >= given, || format!("call {number}, after call {given:?} was given"))?;
        }
        for held in account.in_memory.iter().chain(account.on_shelf.iter().filter(|_| self.up)) {
            let older = number < held.number && held.since < asked.tick;
            hold(!older, || format!("call {number}, but call {} was kept", held.number))?;
        }
        let purges = self.purges.iter().filter(|purge| purge.of[asked.key] && purge.ended < asked.tick);
        hold(purges.map(|purge| purge.began).max() < Some(end.tick), || format!("call {number} was purged"))
    }

    /// An error is the upstream's own, and no copy was left.
    fn judge_error(&mut self, diary: &Diary, asked: Asked, tick: u64, error: GetError) -> Verdict {
        let mut ends = diary.ends(asked.key).filter(|(_, end)| (asked.tick..=tick).contains(&end.tick));
        let replayed = |error| {
            let mut held = self.moments(asked.tick, tick).iter().filter_map(|(_, ms)| diary.held(asked.key, tick, *ms));
            held.any(|held| discriminant(&held) == discriminant(&error))
        };
        let right = match error {
            GetError::Source(Failure { error: SourceError::UnknownLocation, .. }) => false,
            GetError::Source(Failure { error, .. }) => {
                ends.any(|(_, end)| end.word == Word::Failed(error)) || replayed(error)
            }
            GetError::Lost => ends.any(|(_, end)| end.word == Word::Panicked),
            GetError::WaitTimeout | GetError::Overloaded => false,
        };
        hold(right, || format!("{error:?}, which the upstream did not say then"))?;
        self.seen.insert(if error == GetError::Lost { "lost" } else { "failed" });
        let held = self.held(asked.key).filter(|held| held.since < asked.tick);
        let alive = held.filter(|held| held.freshness(self.now_ms()) != Freshness::Dead);
        hold(alive.is_none(), || format!("{error:?}, but there was a copy: {alive:?}"))
    }
}

/// The call that an answer comes from, by its number, its bytes and its time.
fn said<'a>(diary: &'a Diary, key: usize, answer: &Answer) -> Option<(usize, &'a End)> {
    let Content::Weather(body) = &answer.content else {
        let mut unknown = diary.ends(key).filter(|(_, end)| end.word == Word::Unknown);
        return unknown.find(|(_, end)| end.at_ms == answer.fetched_at_ms);
    };
    let number = std::str::from_utf8(&body.bytes()).ok()?.split(' ').next()?.parse().ok()?;
    let end = diary.end(key, number)?;
    let right = end.at_ms == answer.fetched_at_ms && end.word == Word::Weather(body.bytes());
    right.then_some((number, end))
}
