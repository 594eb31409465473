//! What one replica knows of one caller, and what it may grant by that. No I/O.

use super::own::Own;
use super::window::{AHEAD, BUCKET_MS, Bucket, RESERVED_FOR_MS, Terms, Window, bucket_of};
use super::{Decision, Standing};
use std::time::Duration;

/// A time to wait is never told shorter than this.
const SHORTEST_WAIT_MS: u64 = 1_000;
/// So many times a bucket something is reserved where requests come evenly.
const TIMES_A_BUCKET: u32 = (BUCKET_MS / RESERVED_FOR_MS) as u32;
/// What is counted in.
const MINUTE_MS: u64 = 60_000;

/// Where requests are granted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// From what is known here: nobody else grants any.
    Alone,
    /// From what is reserved in the store.
    Shared,
    /// From the local share: the store is away.
    Away,
    /// The store is back. Within the local share requests are reserved there, until all replicas have told it what they
    /// granted without it.
    Returning,
}

/// What a replica knows of the store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight {
    pub(super) mode: Mode,
    /// How often it went away, and when it did so last, Unix milliseconds.
    pub(super) outages: u64,
    pub(super) since_ms: u64,
    /// When this replica may use its own parts, Unix milliseconds.
    pub(super) own_from_ms: u64,
}

/// What is known since the first contact with the store.
#[derive(Debug)]
pub(super) struct Known {
    window: Window,
    mode: Mode,
    /// How often the store had gone away when it was last looked.
    outages: u64,
    /// When the store was read last, Unix milliseconds; 0 if it never was.
    read_ms: u64,
    /// Whether all of it has to be read: others may tell it late what they granted without it.
    read_all: bool,
    /// The bucket of the last contact, and how much to reserve at the next one in it.
    asked: u64,
    batch: u32,
    /// Until when nothing can be granted, and when it can be then, Unix milliseconds.
    refused: Option<(u64, u64)>,
}

/// What to ask the store.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Errand {
    /// The bucket that it is.
    pub(super) bucket: u64,
    /// How many requests to reserve in it.
    pub(super) by: u32,
    /// The buckets to read after that.
    pub(super) reads: Vec<u64>,
}

/// What the store said.
#[derive(Debug)]
pub(super) struct Reply {
    /// When it was asked, Unix milliseconds.
    pub(super) asked_ms: u64,
    /// The number of each bucket; `None` if there is none.
    pub(super) totals: Vec<(u64, Option<u32>)>,
}

/// What is to be added to the number of a bucket in the store, or to be taken back if it is negative.
pub(super) type Correction = (u64, i64);

/// One caller.
#[derive(Debug)]
pub(super) struct State {
    /// May be granted at once in this bucket, until then (Unix milliseconds).
    hand: u32,
    bucket: u64,
    hand_until_ms: u64,
    is_local: bool,
    /// As known when it was looked last, less what was granted since; and when more is there, Unix milliseconds.
    left: u32,
    more_ms: u64,
    own: Own,
    /// When the own part may be used, Unix milliseconds.
    own_from_ms: u64,
    /// Requests that count from the beginning, because whom this one displaced has made them.
    inherited: u32,
    known: Option<Box<Known>>,
}

impl State {
    pub(super) fn new(own_from_ms: u64, inherited: u32) -> Self {
        let own = Own::default();
        Self {
            hand: 0,
            bucket: 0,
            hand_until_ms: 0,
            is_local: false,
            left: 0,
            more_ms: 0,
            own,
            own_from_ms,
            inherited,
            known: None,
        }
    }

    /// The usual grant: of what is in hand.
    pub(super) fn take_in_hand(&mut self, terms: &Terms, now_ms: u64) -> Option<Standing> {
        if self.hand == 0 || now_ms >= self.hand_until_ms {
            return None;
        }
        self.use_hand();
        Some(self.standing(terms, now_ms))
    }

    /// Decides if that needs nobody else.
    pub(super) fn take(&mut self, terms: &Terms, sight: &Sight, now_ms: u64) -> Decision {
        if let Some(standing) = self.take_in_hand(terms, now_ms) {
            return Decision::Granted(standing);
        }
        let own_from_ms = sight.own_from_ms.max(self.own_from_ms);
        if now_ms >= own_from_ms && self.own.take(terms.own, now_ms) {
            let own_left = self.own.left(terms.own, now_ms);
            let shared_left = if self.known.is_some() {
                // Since it was looked last all may have come free again.
                let (known, _) = self.known(terms, sight, now_ms);
                let (told, more_ms) = (known.told(terms, now_ms), known.window.ends(now_ms).min().unwrap_or(0));
                self.more_ms = more_ms;
                told
            } else {
                terms.shared
            };
            self.left = shared_left.saturating_add(own_left);
            return Decision::Granted(self.standing(terms, now_ms));
        }
        if self.known.is_none() && matches!(sight.mode, Mode::Shared | Mode::Returning) {
            return Decision::Ask;
        }
        let (known, bucket) = self.known(terms, sight, now_ms);
        // At most until the next bucket, or the clock was put back.
        let holds = |until: u64| now_ms < until && until <= now_ms + BUCKET_MS;
        if let Some((until, retry_at)) = known.refused.filter(|(until, _)| holds(*until)) {
            return self.refusal(terms, retry_at.max(until), now_ms);
        }
        let (left, asked, told) = (known.left(terms, now_ms), known.asked, known.told(terms, now_ms));
        let more_ms = known.window.ends(now_ms).min().unwrap_or(0);
        // What is left in hand is given back at the next contact.
        (self.hand, self.bucket, self.left, self.more_ms) = (0, bucket, told, more_ms);
        match sight.mode {
            Mode::Alone | Mode::Away if left > 0 => {
                (self.hand, self.hand_until_ms) = (left, (bucket + 1) * BUCKET_MS);
                self.is_local = sight.mode == Mode::Away;
                self.use_hand();
                Decision::Granted(self.standing(terms, now_ms))
            }
            Mode::Shared | Mode::Returning if left > 0 || asked < bucket => Decision::Ask,
            _ => {
                let own_at = self.own.soonest(terms.own, now_ms.max(own_from_ms));
                let (known, _) = self.known(terms, sight, now_ms);
                let (until, retry_at) = known.soonest(terms, own_at, now_ms);
                known.refused = Some((until, retry_at));
                self.refusal(terms, retry_at, now_ms)
            }
        }
    }

    fn use_hand(&mut self) {
        self.hand -= 1;
        self.left = self.left.saturating_sub(1);
        let Some(known) = self.known.as_deref_mut() else { return };
        if let Some(bucket) = known.window.get_mut(self.bucket) {
            if self.is_local { bucket.local += 1 } else { bucket.used += 1 }
        }
    }

    fn standing(&self, terms: &Terms, now_ms: u64) -> Standing {
        // Where nothing is known to end: what is granted now does, a minute after its bucket.
        let granted_now_ends_ms = (bucket_of(now_ms) + 1) * BUCKET_MS + MINUTE_MS;
        let resets_in = if self.more_ms > now_ms { self.more_ms - now_ms } else { granted_now_ends_ms - now_ms };
        let limit = terms.shared + terms.own * terms.replicas;
        Standing { limit, left: self.left.min(limit), resets_in: Duration::from_millis(resets_in) }
    }

    fn refusal(&self, terms: &Terms, retry_at: u64, now_ms: u64) -> Decision {
        let wait = retry_at.saturating_sub(now_ms).max(SHORTEST_WAIT_MS);
        let retry_after = Duration::from_millis(wait);
        let standing = Standing { left: 0, resets_in: retry_after, ..self.standing(terms, now_ms) };
        Decision::Refused { retry_after, standing }
    }

    /// What is known, brought up to date, and the bucket that it is.
    fn known(&mut self, terms: &Terms, sight: &Sight, now_ms: u64) -> (&mut Known, u64) {
        let inherited = std::mem::take(&mut self.inherited);
        let known = self.known.get_or_insert_with(|| Box::new(Known::new(sight, now_ms)));
        let bucket = known.look(terms, sight, now_ms);
        if inherited > 0
            && let Some(bucket) = known.window.get_mut(bucket)
        {
            match sight.mode {
                Mode::Shared => {}
                Mode::Alone => bucket.used += inherited,
                Mode::Away | Mode::Returning => bucket.local += inherited,
            }
        }
        (known, bucket)
    }

    /// What a contact with the store is to do. `waiting` callers want one request each.
    pub(super) fn errand(&mut self, terms: &Terms, sight: &Sight, waiting: u32, now_ms: u64) -> Errand {
        let has_hand = self.hand > 0 && now_ms < self.hand_until_ms;
        let (known, bucket) = self.known(terms, sight, now_ms);
        if known.asked != bucket {
            (known.asked, known.batch) = (bucket, known.window.get(bucket - 1).ours().div_ceil(TIMES_A_BUCKET).max(1));
        }
        let left = known.left(terms, now_ms);
        // What ended here a minute ago is what falls to this replica; of the rest it leaves some to the others.
        let due = known.window.get(bucket.saturating_sub(MINUTE_MS / BUCKET_MS + 1)).ours();
        let due = due.saturating_sub(known.window.get(bucket).ours());
        let most = (left / (2 * terms.replicas)).max(due).max(1).min(left);
        let by = if has_hand || waiting == 0 { 0 } else { known.batch.max(waiting).min(most) };
        known.batch = known.batch.saturating_mul(2);
        let (read_ms, read_all) = (known.read_ms, known.read_all);
        let reads = known.window.all().filter(|read| read_all || !Window::was_over(*read, read_ms));
        Errand { bucket, by, reads: reads.filter(|read| by == 0 || *read != bucket).collect() }
    }

    /// Takes in what the store said; how many of those asked for are granted, and what is to be corrected in the store.
    pub(super) fn learn(
        &mut self,
        terms: &Terms,
        sight: &Sight,
        errand: &Errand,
        reply: &Reply,
        now_ms: u64,
    ) -> (u32, Vec<Correction>) {
        let (hand, hand_until_ms) = (self.hand, self.hand_until_ms);
        let (known, bucket) = self.known(terms, sight, now_ms);
        if let Some(asked) = known.window.get_mut(errand.bucket) {
            asked.counted += errand.by;
        }
        known.learn_totals(&reply.totals, now_ms);
        known.read_ms = reply.asked_ms;
        known.read_all = sight.mode != Mode::Shared;
        known.refused = None;
        let granted = if bucket == errand.bucket { errand.by.min(known.left(terms, now_ms)) } else { 0 };
        // If there is something in hand nothing was asked for.
        let hand = if granted == 0 && now_ms < hand_until_ms { hand } else { granted };
        let hand_until_ms = if granted == 0 { hand_until_ms } else { reply.asked_ms + RESERVED_FOR_MS };
        let hand_until_ms = hand_until_ms.min((bucket + 1) * BUCKET_MS);
        let (told, corrections) = (known.told(terms, now_ms), known.corrections(bucket, hand));
        (self.hand, self.bucket, self.hand_until_ms, self.left) = (hand, bucket, hand_until_ms, told);
        if granted > 0 {
            self.is_local = sight.mode != Mode::Shared;
        }
        (granted, corrections)
    }

    /// A correction is made, or may be.
    pub(super) fn corrected(&mut self, (bucket, by): Correction) {
        if let Some(bucket) = self.known.as_deref_mut().and_then(|known| known.window.get_mut(bucket)) {
            let by = u32::try_from(by.unsigned_abs()).unwrap_or(u32::MAX);
            bucket.counted = bucket.counted.saturating_add(by);
        }
    }

    /// What those have to be charged with who take the place of this one, because only this replica knows of it.
    pub(super) fn known_here_only(&self, now_ms: u64) -> u32 {
        let Some(known) = self.known.as_deref() else { return self.inherited };
        let counted = known.window.counted(now_ms);
        match known.mode {
            Mode::Alone => counted.used,
            Mode::Away | Mode::Returning => counted.local,
            Mode::Shared => 0,
        }
    }

    /// The limit is another one now: what was in hand is given back.
    pub(super) fn forget_hand(&mut self) {
        self.hand = 0;
        if let Some(known) = self.known.as_deref_mut() {
            known.refused = None;
        }
    }
}

impl Known {
    fn new(sight: &Sight, now_ms: u64) -> Self {
        let Sight { mode, outages, .. } = *sight;
        Self {
            window: Window::new(now_ms),
            mode,
            outages,
            read_ms: 0,
            read_all: true,
            asked: 0,
            batch: 1,
            refused: None,
        }
    }

    /// Brings it up to date; the bucket that it is.
    fn look(&mut self, terms: &Terms, sight: &Sight, now_ms: u64) -> u64 {
        let bucket = self.window.turn_to(now_ms);
        if bucket_of(self.read_ms) > bucket + AHEAD {
            // The clock was put back.
            (self.read_ms, self.read_all) = (0, true);
        }
        if self.outages != sight.outages {
            let last_read = bucket_of(self.read_ms);
            if self.window.all().contains(&last_read) {
                self.window.assume(last_read, bucket_of(sight.since_ms.max(self.read_ms)), terms);
            }
            (self.outages, self.read_all, self.refused) = (sight.outages, true, None);
        }
        if self.mode != sight.mode {
            (self.mode, self.refused) = (sight.mode, None);
        }
        bucket
    }

    /// What may be granted at a time, which is not before now, by what is known now.
    fn left(&self, terms: &Terms, at_ms: u64) -> u32 {
        let counted = self.window.counted(at_ms);
        match self.mode {
            Mode::Alone => counted.left(terms),
            Mode::Shared => counted.left(terms).min(self.room(terms, at_ms)),
            Mode::Away => counted.local_share(terms),
            Mode::Returning => counted.local_share(terms).min(counted.left(terms)),
        }
    }

    /// What a caller is told to be left, now.
    fn told(&self, terms: &Terms, now_ms: u64) -> u32 {
        if self.mode == Mode::Shared { self.window.counted(now_ms).left(terms) } else { self.left(terms, now_ms) }
    }

    /// What the bucket of that time has room for.
    fn room(&self, terms: &Terms, at_ms: u64) -> u32 {
        let number = bucket_of(at_ms);
        let bucket: Bucket = self.window.get(number);
        self.window.cap(number, terms).saturating_sub(bucket.others.saturating_add(bucket.ours()))
    }

    /// Until when nothing can be granted, and when it can be. The store is looked at again in the next bucket.
    fn soonest(&self, terms: &Terms, own_at: Option<u64>, now_ms: u64) -> (u64, u64) {
        let next_bucket = (bucket_of(now_ms) + 1) * BUCKET_MS;
        let times = self.window.ends(now_ms).chain([next_bucket]);
        let soonest = times.filter(|at| self.left(terms, *at) > 0).chain(own_at).min();
        let retry_at = soonest.unwrap_or(now_ms + MINUTE_MS);
        (retry_at.min(next_bucket), retry_at)
    }

    fn learn_totals(&mut self, totals: &[(u64, Option<u32>)], now_ms: u64) {
        let counted = |window: &Window, number| window.get(number).counted;
        // A store that lost what it was told is told again, and what others told it counts as before. One that has it has also
        // what others told it before it was away.
        let is_lost = totals.iter().any(|(number, total)| total.unwrap_or(0) < counted(&self.window, *number));
        let is_kept = !is_lost && totals.iter().any(|(number, _)| counted(&self.window, *number) > 0);
        let keeps_more = is_lost || self.read_all;
        for (number, total) in totals {
            if total.is_some() {
                self.window.touch(*number);
            }
            let total = total.unwrap_or(0);
            let Some(bucket) = self.window.get_mut(*number) else { continue };
            if total < bucket.counted {
                bucket.counted = 0;
            }
            if is_kept {
                bucket.assumed = 0;
            }
            let others = total - bucket.counted;
            let others = if keeps_more { others.max(bucket.others) } else { others };
            self.window.others_are(*number, others, now_ms);
        }
    }

    /// What differs in the store from what was used here. What is to be taken back counts as taken: whether it was is not
    /// known if the store fails, and twice would be too much.
    fn corrections(&mut self, now: u64, hand: u32) -> Vec<Correction> {
        let mut corrections = Vec::new();
        for number in self.window.all() {
            let in_hand = if number == now { hand } else { 0 };
            let Some(bucket) = self.window.get_mut(number) else { continue };
            let wanted = bucket.ours() + in_hand;
            if bucket.counted != wanted {
                corrections.push((number, i64::from(wanted) - i64::from(bucket.counted)));
                bucket.counted = bucket.counted.min(wanted);
            }
        }
        corrections
    }
}
