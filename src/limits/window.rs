//! The last minute of one caller as one replica knows it, in buckets.

/// Length of a bucket. Shorter ones would use more of a limit (a use counts for a minute and up to this), and cost more.
pub(super) const BUCKET_MS: u64 = 3_000;
/// What is counted in.
const WINDOW_MS: u64 = 60_000;
/// How far apart the clocks of two replicas may be: each five seconds wrong, either way.
const CLOCKS_DIFFER_MS: u64 = 10_000;
/// How long after it was reserved a request may be granted, and not after the end of its bucket. The sooner the better others
/// know until when it counts, without trusting clocks.
pub(super) const RESERVED_FOR_MS: u64 = 1_500;
/// What is reserved in a bucket after it was over here: by clocks that are behind.
const LATE: u16 = CLOCKS_DIFFER_MS as u16;
/// A bucket that was not read since it was over.
const UNREAD: u16 = u16::MAX;
/// Buckets by which another replica may be ahead.
pub(super) const AHEAD: u64 = CLOCKS_DIFFER_MS.div_ceil(BUCKET_MS);
/// Buckets that may count, with those ahead.
const LENGTH: usize = (WINDOW_MS + CLOCKS_DIFFER_MS).div_ceil(BUCKET_MS) as usize + 1 + AHEAD as usize;
/// How long the store keeps a bucket: from its beginning by the fastest clock until it counts nowhere any more, and a little.
pub(super) const KEPT_MS: u64 = BUCKET_MS + WINDOW_MS + 2 * CLOCKS_DIFFER_MS + 7_000;

/// The bucket that a time lies in. All replicas count them from the Unix epoch.
pub(super) fn bucket_of(now_ms: u64) -> u64 {
    now_ms / BUCKET_MS
}

/// What a caller may do, in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    /// Requests a minute that are shared by all replicas.
    pub(super) shared: u32,
    /// Of each replica alone.
    pub(super) own: u32,
    /// Shared ones in one bucket at most, unless the caller begins after a pause.
    pub(super) bucket_cap: u32,
    /// How many replicas there are at most.
    pub(super) replicas: u32,
}

/// Of a limit, what replicas may grant without asking the store, in percent.
const OWN_PERCENT: u64 = 2;
/// A bucket takes this part of a limit, and at least [`SMALL`]: what is not known when the store fails is then bounded.
const BUCKET_PART: u32 = 4;
/// Requests in one bucket that are too few to be bounded.
const SMALL: u32 = 20;

impl Terms {
    /// The parts of a limit that up to so many replicas share.
    pub(super) fn shared(per_minute: u32, replicas: u32) -> Self {
        let replicas = replicas.max(1);
        let own = u64::from(per_minute) * OWN_PERCENT / 100 / u64::from(replicas);
        let own = u32::try_from(own).unwrap_or(u32::MAX);
        let bucket_cap = SMALL.max(per_minute / BUCKET_PART);
        Self { shared: per_minute - own * replicas, own, bucket_cap, replicas }
    }

    /// Those of a limit that nobody shares.
    pub(super) fn alone(per_minute: u32) -> Self {
        Self { shared: per_minute, own: 0, bucket_cap: per_minute, replicas: 1 }
    }
}

/// What is known of one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bucket {
    /// Reserved by other replicas.
    pub(super) others: u32,
    /// What they may have reserved beside that when the store went away.
    pub(super) assumed: u32,
    /// What this replica has put into the counter in the store and not taken back.
    pub(super) counted: u32,
    /// Uses of what was reserved here.
    pub(super) used: u32,
    /// Uses of the local share, while the store was away.
    pub(super) local: u32,
    /// How much later than the bucket's end others may use what they reserved, by the clock of this replica.
    late_ms: u16,
}

impl Bucket {
    const EMPTY: Self = Self { others: 0, assumed: 0, counted: 0, used: 0, local: 0, late_ms: UNREAD };

    /// Uses by this replica.
    pub(super) fn ours(self) -> u32 {
        self.used + self.local
    }
}

/// The buckets.
#[derive(Debug)]
pub(super) struct Window {
    /// The bucket that it is, by the clock of this replica. It never goes back.
    now: u64,
    buckets: [Bucket; LENGTH],
    /// Which of them are in the store, a bit each: somebody has counted there, though perhaps taken it all back.
    touched: u32,
    /// By how many buckets others were seen to be ahead, and behind.
    ahead: u64,
    behind: u64,
}

impl Window {
    pub(super) fn new(now_ms: u64) -> Self {
        Self { now: bucket_of(now_ms), buckets: [Bucket::EMPTY; LENGTH], touched: 0, ahead: 0, behind: 0 }
    }

    /// Brings it up to date; the bucket that it is. A clock that is put back a little stands still meanwhile; one that is put
    /// back by more than a minute begins anew.
    pub(super) fn turn_to(&mut self, now_ms: u64) -> u64 {
        let now = bucket_of(now_ms);
        if now + (LENGTH as u64) < self.now || now > self.now + LENGTH as u64 {
            *self = Self::new(now_ms);
        }
        while self.now < now {
            self.now += 1;
            let place = place(self.now + AHEAD);
            self.buckets[place] = Bucket::EMPTY;
            self.touched &= !(1 << place);
        }
        self.now
    }

    /// All buckets that it has, the oldest first.
    pub(super) fn all(&self) -> std::ops::RangeInclusive<u64> {
        (self.now + AHEAD + 1).saturating_sub(LENGTH as u64)..=self.now + AHEAD
    }

    pub(super) fn get(&self, bucket: u64) -> Bucket {
        if self.all().contains(&bucket) { self.buckets[place(bucket)] } else { Bucket::EMPTY }
    }

    /// `None` if it is over long since.
    pub(super) fn get_mut(&mut self, bucket: u64) -> Option<&mut Bucket> {
        self.all().contains(&bucket).then(|| &mut self.buckets[place(bucket)])
    }

    /// Others have reserved so many in a bucket, as was heard now. What is there when it is read after its end will be used
    /// soon; what comes later is of a clock that is behind.
    pub(super) fn others_are(&mut self, number: u64, others: u32, now_ms: u64) {
        let end_ms = (number + 1) * BUCKET_MS;
        let now = self.now;
        let Some(bucket) = self.get_mut(number) else { return };
        if bucket.late_ms == UNREAD && now_ms >= end_ms {
            let late_ms = (now_ms + RESERVED_FOR_MS - end_ms).min(LATE.into());
            bucket.late_ms = u16::try_from(late_ms).unwrap_or(LATE);
            bucket.others = others;
        } else if bucket.late_ms != UNREAD && others > bucket.others {
            bucket.late_ms = LATE;
            bucket.others = others;
            self.behind = self.behind.max(now.saturating_sub(number)).min(AHEAD);
        } else {
            bucket.others = others;
        }
    }

    /// Somebody has counted there.
    pub(super) fn touch(&mut self, bucket: u64) {
        if self.all().contains(&bucket) {
            self.touched |= 1 << place(bucket);
            self.ahead = self.ahead.max(bucket.saturating_sub(self.now));
        }
    }

    /// What counts at a time, which is not before that of the last turn: of others, of ours that were reserved, and of the
    /// local share. Ours end a minute after their bucket; those of others may be used later, by a clock that is behind.
    pub(super) fn counted(&self, at_ms: u64) -> Counted {
        let mut counted = Counted::default();
        for number in self.all() {
            let bucket = self.buckets[place(number)];
            let end_ms = (number + 1) * BUCKET_MS + WINDOW_MS;
            if at_ms < end_ms + u64::from(bucket.late_ms.min(LATE)) {
                counted.others = counted.others.saturating_add(bucket.others).saturating_add(bucket.assumed);
            }
            if at_ms < end_ms {
                counted.used = counted.used.saturating_add(bucket.used);
                counted.local = counted.local.saturating_add(bucket.local);
            }
        }
        counted
    }

    /// The most that may be reserved in a bucket: without bound if nobody made a request in the minute before. Who began in
    /// the bucket before goes on.
    pub(super) fn cap(&self, bucket: u64, terms: &Terms) -> u32 {
        let before = bucket.saturating_sub(WINDOW_MS / BUCKET_MS)..bucket.saturating_sub(1);
        let mut touched = before.filter(|number| self.all().contains(number));
        if touched.any(|number| self.touched & 1 << place(number) != 0) { terms.bucket_cap } else { terms.shared }
    }

    /// When something of what counts ends, after a time; each once, in no order.
    pub(super) fn ends(&self, after_ms: u64) -> impl Iterator<Item = u64> {
        let end = |number: u64| (number + 1) * BUCKET_MS + WINDOW_MS;
        let ends = self.all().flat_map(move |number| {
            let bucket = self.buckets[place(number)];
            let ours = (bucket.ours() > 0).then_some(end(number));
            ours.into_iter().chain(
                (bucket.others > 0 || bucket.assumed > 0).then_some(end(number) + u64::from(bucket.late_ms.min(LATE))),
            )
        });
        ends.filter(move |end| *end > after_ms)
    }

    /// Whether nobody can reserve anything there any more that was not to be read at a time.
    pub(super) fn was_over(bucket: u64, at_ms: u64) -> bool {
        (bucket + 1) * BUCKET_MS + CLOCKS_DIFFER_MS <= at_ms
    }

    /// Counts what others may have reserved since the store was read last, from one bucket to another and as much around
    /// these as clocks were seen to differ: what a bucket may take at most, and all of them what was left. The later ones are
    /// filled first, since they count longer.
    pub(super) fn assume(&mut self, from: u64, to: u64, terms: &Terms) {
        // Half of it stays, whatever the others do: who has just begun would else be refused for a minute whenever the store
        // does not answer for a moment.
        let mut left = self.counted(to * BUCKET_MS).left(terms) / 2;
        for number in (from.saturating_sub(self.behind)..=to + self.ahead).rev().take(LENGTH) {
            let cap = self.cap(number, terms);
            let Some(bucket) = self.get_mut(number) else { continue };
            let more = cap.saturating_sub(bucket.others.saturating_add(bucket.assumed).saturating_add(bucket.ours()));
            let more = more.min(left);
            if more > 0 {
                bucket.assumed += more;
                bucket.late_ms = LATE;
                left -= more;
            }
        }
    }
}

fn place(bucket: u64) -> usize {
    // Far below the length of any array.
    usize::try_from(bucket % LENGTH as u64).unwrap_or(0)
}

/// What counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) others: u32,
    pub(super) used: u32,
    pub(super) local: u32,
}

impl Counted {
    pub(super) fn all(self) -> u32 {
        self.others.saturating_add(self.used).saturating_add(self.local)
    }

    /// What is left of the shared part.
    pub(super) fn left(self, terms: &Terms) -> u32 {
        terms.shared.saturating_sub(self.all())
    }

    /// What is left of the local share: the other replicas may have used as much of theirs.
    pub(super) fn local_share(self, terms: &Terms) -> u32 {
        let reserved = self.others.saturating_add(self.used);
        (terms.shared.saturating_sub(reserved) / terms.replicas).saturating_sub(self.local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_store_that_lies_are_too_large_for_nothing() {
        // A bucket has just begun.
        let (terms, now_ms) = (Terms::shared(600, 2), 999_999_000);
        let mut window = Window::new(now_ms);
        let now = window.turn_to(now_ms);
        window.assume(now, now, &terms);
        for number in window.all() {
            window.others_are(number, u32::MAX, now_ms);
        }
        assert_eq!(window.counted(now_ms).left(&terms), 0);
        assert_eq!(window.ends(now_ms).count(), window.all().count());
    }
}
