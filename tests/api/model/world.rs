//! The cache under test and everything round it: the upstream, the clock, Redis and the way to it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use stratus::cache::{Answer, Cache, Origin, StoreState};
use stratus::config::{Config, Sources};
use stratus::store::{Notebook, Store};
use stratus::telemetry::Metrics;
use stratus::weather::Query;
use tokio::task::{JoinHandle, yield_now};

use super::ledger::{Asked, Got, Ledger, Memory, Verdict};
use super::ops::Op;
use super::source::{KEYS, Order, Teller};
use crate::harness::standstill::{Line, patiently, tasks, until, wind_until};
use crate::harness::{CALLER, ManualClock, START_MS};

/// How often a cache looks for purges by others, and some.
const LOOK_OUT: Duration = Duration::from_millis(600);
/// Questions about three places.
const QUESTIONS: [(&str, &str); KEYS] =
    [("id:1", ""), ("id:1", "units=imperial"), ("id:2", "lang=de"), ("Rome,IT", "")];
/// A place that the model does not ask about.
const ASIDE: &str = "id:9";

/// What a case is played with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Variant {
    pub(super) memory: Memory,
    pub(super) jitter_percent: u32,
    pub(super) not_found_secs: u32,
}

impl Variant {
    fn settings(&self) -> Vec<(String, String)> {
        let bytes = match self.memory {
            Memory::Off => 0,
            Memory::Small => 2_000,
            Memory::Ample => 1 << 20,
        };
        [
            ("cache.fresh_secs", 100),
            ("cache.stale_while_revalidate_secs", 50),
            ("cache.stale_if_error_secs", 200),
            ("cache.not_found_secs", self.not_found_secs),
            ("cache.jitter_percent", self.jitter_percent),
            ("cache.memory_max_bytes", bytes),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_string()))
        .to_vec()
    }
}

/// One case.
pub(super) struct World {
    line: Option<Line>,
    settings: Vec<(String, String)>,
    variant: Variant,
    cache: Option<Cache>,
    teller: Arc<Teller>,
    order: Order,
    clock: ManualClock,
    pub(super) ledger: Ledger,
    /// Tasks that run while nothing happens.
    idle_tasks: usize,
    /// The end of the mark of a purge that this cache has not seen yet.
    mark: Option<u64>,
}

async fn ask(cache: Cache, query: Query, order: Order, key: usize) -> (Asked, Got) {
    let asked = Asked { key, tick: order.next() };
    let result = cache.get(query, CALLER).await;
    (asked, Got { tick: order.next(), result })
}

/// Long enough for a task to begin what it does next, too short for an answer of Redis.
async fn a_moment() {
    for _ in 0..5 {
        yield_now().await;
    }
}

impl World {
    /// A cache on a new store: in the process, or behind `line`.
    pub(super) async fn new(variant: Variant, line: Option<Line>) -> Result<Self, String> {
        let mut settings = variant.settings();
        match &line {
            Some(line) => settings.extend(line.settings.clone()),
            None => settings.push(("store.backend".to_owned(), "memory".to_owned())),
        }
        let (clock, order) = (ManualClock::new(), Order::default());
        let questions = QUESTIONS.map(|(place, parameters)| Query::parse(place, parameters).expect("a question"));
        let teller = Teller::new(questions, clock.clock(), order.clone());
        let sources = Sources { overrides: settings.clone(), ..Sources::default() };
        let policy = Config::load(&sources).expect("a configuration without faults").cache.policy;
        let ledger = Ledger::new(policy, variant.memory, START_MS);
        let (mark, cache, idle_tasks) = (None, None, 0);
        let mut world = Self { line, settings, variant, cache, teller, order, clock, ledger, idle_tasks, mark };
        world.start().await?;
        world.idle_tasks = tasks();
        Ok(world)
    }

    fn cache(&self) -> &Cache {
        self.cache.as_ref().expect("there is one between restarts")
    }

    async fn start(&mut self) -> Verdict {
        let sources = Sources { overrides: self.settings.clone(), ..Sources::default() };
        let config = Config::load(&sources).expect("a configuration without faults");
        let (source, clock) = (Arc::clone(&self.teller), self.clock.clock());
        let cache = {
            let store = Store::start(config.store, clock.clone(), Metrics::new());
            Cache::start(config.cache, Notebook { store, keyring: config.keyring, clock }, source, Metrics::new())
        };
        let state = cache.store_state();
        self.cache = Some(cache);
        let reachable = self.ledger.up;
        until("the store is used", || match *state.borrow() {
            StoreState::Connecting => false,
            StoreState::Up => true,
            StoreState::Down { .. } => !reachable,
        })
        .await
    }

    /// Does one step and waits until all that follows from it has happened.
    pub(super) async fn step(&mut self, op: &Op) -> Verdict {
        match op {
            Op::Get(key) => self.get(*key, 1).await?,
            Op::Crowd(key, callers) => self.get(*key, *callers).await?,
            Op::Restart => self.restart().await?,
            Op::Redis { reachable } => self.reach(*reachable).await?,
            Op::While { key, window, callers, steps, late } => {
                if let Some(window) = *window {
                    self.at_once(&Op::PassTo { key: *key, window, offset: 0 }).await?;
                }
                self.thinking(*key, *callers, steps, *late).await?;
            }
            _ => self.at_once(op).await?,
        }
        self.settle().await?;
        self.look_out().await
    }

    /// The steps that need no answer of the upstream.
    async fn at_once(&mut self, op: &Op) -> Verdict {
        match op {
            Op::Recall(key) => self.recall(*key),
            Op::Pass(ms) => self.pass(*ms),
            Op::PassTo { key, window, offset } => {
                let edge = self.ledger.edge(*key, *window).and_then(|edge| edge.checked_add_signed(*offset));
                self.pass(edge.map_or(0, |edge| edge.saturating_sub(self.cache().now_ms())))
            }
            Op::Upstream(mood) => {
                self.teller.feel(*mood);
                Ok(())
            }
            Op::Fill => self.fill().await,
            Op::Purge(key) => self.purge(Some(QUESTIONS[*key].0)).await,
            Op::PurgeAll => self.purge(None).await,
            _ => unreachable!("it needs the upstream"),
        }
    }

    fn pass(&mut self, ms: u64) -> Verdict {
        self.clock.advance(Duration::from_millis(ms));
        self.ledger.time_passed(self.order.next(), self.cache().now_ms());
        Ok(())
    }

    fn asking(&self, key: usize) -> impl Future<Output = (Asked, Got)> + Send + 'static {
        ask(self.cache().clone(), self.teller.questions[key].clone(), self.order.clone(), key)
    }

    async fn get(&mut self, key: usize, callers: usize) -> Verdict {
        let (fresh, calls) = (self.ledger.is_fresh(key), self.teller.calls(key));
        let callers: Vec<_> = (0..callers).map(|_| self.asking(key)).collect();
        let got = patiently(join_all(callers)).await?;
        let stale = got.iter().any(|(_, got)| matches!(&got.result, Ok(Answer { origin: Origin::Stale(_), .. })));
        self.judge(got)?;
        self.settle().await?;
        let (now_ms, tick) = (self.cache().now_ms(), self.order.next());
        let held = self.teller.read(|diary| diary.held(key, tick, now_ms));
        match self.teller.calls(key) > calls {
            true if fresh => Err("the upstream was asked although there was a fresh copy".into()),
            false if stale && !fresh && held.is_none() => {
                Err("the upstream was not asked although the copy was stale".into())
            }
            _ => Ok(()),
        }
    }

    fn judge(&mut self, mut got: Vec<(Asked, Got)>) -> Verdict {
        got.sort_by_key(|(_, got)| got.tick);
        let Self { ledger, teller, .. } = self;
        teller.read(|diary| got.iter().try_for_each(|(asked, got)| ledger.judge(diary, *asked, got)))
    }

    fn recall(&mut self, key: usize) -> Verdict {
        let asked = Asked { key, tick: self.order.next() };
        match self.cache().recall(&self.teller.questions[key]) {
            Some(answer) => self.judge(vec![(asked, Got { tick: self.order.next(), result: Ok(answer) })]),
            None => self.ledger.judge_silence(key),
        }
    }

    /// While the upstream thinks, other things happen; what is asked last is still on its way when it answers. Afterwards
    /// one more asks, who finds what that has left.
    async fn thinking(&mut self, key: usize, callers: usize, steps: &[Op], late: bool) -> Verdict {
        self.teller.let_through(false);
        let calls = self.teller.calls(key);
        let mut waiting: Vec<JoinHandle<_>> = (0..callers).map(|_| tokio::spawn(self.asking(key))).collect();
        let answered = |waiting: &[JoinHandle<_>]| waiting.iter().all(JoinHandle::is_finished);
        until("the upstream is asked", || answered(&waiting) || self.teller.calls(key) > calls).await?;
        if self.ledger.is_enough(key) {
            until("a copy is given at once", || answered(&waiting)).await?;
        }
        for step in steps {
            match step {
                Op::Get(key) => waiting.push(tokio::spawn(self.asking(*key))),
                step => self.at_once(step).await?,
            }
            a_moment().await;
        }
        if late {
            waiting.push(tokio::spawn(self.asking(key)));
            a_moment().await;
        }
        self.teller.let_through(true);
        let got = patiently(join_all(waiting)).await?;
        self.judge(got.into_iter().collect::<Result<_, _>>().map_err(|_| "a caller panicked")?)?;
        self.settle().await?;
        self.get(key, 1).await
    }

    /// Others ask about other places, often enough for a small memory to hold nothing else.
    async fn fill(&mut self) -> Verdict {
        for id in 11..=16 {
            for _ in 0..3 {
                self.ask_aside(&format!("id:{id}")).await?;
            }
        }
        Ok(())
    }

    /// Asks about a place that is none of the model's.
    async fn ask_aside(&self, place: &str) -> Verdict {
        let query = Query::parse(place, "").expect("a question");
        let answer = patiently(self.cache().get(query, CALLER)).await?;
        answer.map(|_| ()).map_err(|error| format!("{error:?} from an upstream that is well"))
    }

    /// Purges a place, or everything.
    async fn purge(&mut self, place: Option<&str>) -> Verdict {
        let began = self.order.next();
        let location = place.map(|place| place.parse().expect("a place"));
        let purged = match &location {
            Some(location) => patiently(self.cache().purge(location)).await?.map(|_| ()),
            None => patiently(self.cache().purge_all()).await?,
        };
        if purged.is_ok() != self.ledger.up {
            return Err(format!("a purge of a store that can be used or not gave {purged:?}"));
        }
        let of = QUESTIONS.map(|(question, _)| place.is_none_or(|place| place == question));
        self.ledger.purged(began, self.order.next(), purged.is_ok().then_some(of));
        if purged.is_ok() && self.line.is_some() {
            let lifetime = self.ledger.policy.longest_lifetime().as_millis();
            self.mark = Some(self.cache().now_ms() + u64::try_from(lifetime).expect("a short time"));
        }
        Ok(())
    }

    /// Redis can be reached, or no longer.
    async fn reach(&mut self, reachable: bool) -> Verdict {
        let Some(line) = self.line.as_ref().filter(|_| reachable != self.ledger.up) else { return Ok(()) };
        let state = self.cache().store_state();
        if reachable {
            line.mend().await?;
            wind_until("Redis is used again", || *state.borrow() == StoreState::Up).await?;
            self.ledger.up = true;
            self.idle_tasks += 1;
            // The first one waits out a look for marks that is under way, so that the other's is new for certain.
            for _ in 0..2 {
                self.purge(Some(ASIDE)).await?;
            }
        } else {
            line.proxy.cut();
            until("Redis is missed", || matches!(*state.borrow(), StoreState::Down { .. })).await?;
            // The one of the connection.
            self.idle_tasks -= 1;
            self.ledger.up = false;
        }
        Ok(())
    }

    async fn restart(&mut self) -> Verdict {
        self.cache = None;
        wind_until("nothing is left of a cache that is dropped", || tasks() == 0).await?;
        self.ledger.memory_emptied(self.order.next());
        self.start().await?;
        if self.line.is_none() {
            self.ledger.shelf_emptied();
        } else if self.ledger.up {
            self.purge(Some(ASIDE)).await?;
        }
        Ok(())
    }

    /// Waits for loads that nobody waits for, and puts what they brought into the books.
    async fn settle(&mut self) -> Verdict {
        let idle_tasks = self.idle_tasks;
        until("all loads end and leave no task", || tasks() == idle_tasks).await?;
        let tick = self.order.next();
        let Self { ledger, teller, .. } = self;
        teller.read(|diary| ledger.settle(tick, diary))
    }

    /// Lets the cache notice the mark of a purge, its own or an older one, which empties memory once more. Where it cannot
    /// be known whether the cache has noticed it already, a purge of a place aside has left a new one before this.
    async fn look_out(&mut self) -> Verdict {
        let Some(ends) = self.mark.filter(|_| self.ledger.up) else { return Ok(()) };
        self.mark = None;
        if self.cache().now_ms() >= ends {
            return Ok(());
        }
        self.ask_aside(ASIDE).await?;
        tokio::time::advance(LOOK_OUT).await;
        if self.variant.memory == Memory::Ample {
            until("a cache notices a purge", || self.cache().memory_size().0 == 0).await?;
            self.ledger.memory_emptied(self.order.next());
        }
        Ok(())
    }
}
