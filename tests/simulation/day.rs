//! Plays a day: requests come, things go wrong, replicas are restarted, and all of it is written down.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use stratus::weather::{Caller, Location, Query, Units};
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep, sleep_until};

use super::books::{Asked, Books, Who};
use super::fleet::Fleet;
use super::places::Places;
use super::plan::{Plan, Trouble};
use super::upstream::{MADE_UP, Mood, Sky};

/// Ordinary callers.
const CALLERS: u64 = 500;
const SCANNER: Caller = Caller(CALLERS);
/// How often the scanner asks.
const SCANS_EVERY: Duration = Duration::from_secs(2);
/// How often the adaptive factor is looked at.
const LOOKS_EVERY: Duration = Duration::from_secs(10);
/// Longer than anybody waits for an answer.
const LAST_ANSWERS: Duration = Duration::from_secs(15);
const SEED: u64 = 20_261_122;

/// A day that is over.
pub(crate) struct Day {
    pub(crate) plan: Plan,
    pub(crate) requests_per_sec: f64,
    pub(crate) demand: f64,
    pub(crate) books: Books,
    /// When the upstream was called, since the beginning.
    pub(crate) calls: Vec<Duration>,
    /// What it took to simulate.
    pub(crate) took: Duration,
}

/// Plays a day in a runtime whose clock runs ahead whenever everybody waits.
pub(crate) fn play(plan: Plan) -> Day {
    let began = std::time::Instant::now();
    fastrand::seed(SEED);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let places = Arc::new(Places::new(plan.places));
    let requests_per_sec = places.requests_per_sec(f64::from(plan.per_minute) * plan.overload);
    let demand = places.demand(requests_per_sec);
    let world = runtime.block_on(async {
        let world = World::new(&plan);
        let end = world.began + plan.warm_up + plan.lasts;
        tokio::spawn(crowd(Arc::clone(&world), places, requests_per_sec, end));
        if plan.scanner {
            tokio::spawn(scanner(Arc::clone(&world), end));
        }
        tokio::spawn(look(Arc::clone(&world), end));
        tokio::spawn(restarts(Arc::clone(&world), plan.restart_every, end));
        for (when, trouble) in plan.troubles.clone() {
            tokio::spawn(troubled(Arc::clone(&world), plan.warm_up + when.start, plan.warm_up + when.end, trouble));
        }
        sleep_until(end + LAST_ANSWERS).await;
        world
    });
    // With what is still asked ahead or behind, nobody holds the world any more.
    drop(runtime);
    let world = Arc::into_inner(world).expect("all tasks are gone");
    let calls = world.sky.calls();
    let books = world.books.into_inner().expect("nobody panicked with it");
    Day { plan, requests_per_sec, demand, books, calls, took: began.elapsed() }
}

/// The fleet, its upstream and the books.
struct World {
    began: Instant,
    sky: Arc<Sky>,
    replicas: usize,
    fleet: Mutex<Fleet>,
    books: Mutex<Books>,
}

impl World {
    fn new(plan: &Plan) -> Arc<Self> {
        let sky = Sky::new(random(0));
        let (fleet, books) = (Fleet::start(plan, Arc::clone(&sky)), Books::new(plan));
        let replicas = plan.replicas;
        Arc::new(Self { began: Instant::now(), sky, replicas, fleet: Mutex::new(fleet), books: Mutex::new(books) })
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Asks a replica, as the service does: what memory can answer is answered at once.
    fn ask(self: &Arc<Self>, who: Who, place: u64, caller: Caller, replica: usize) {
        let asked = Asked { who, place, at: self.now() };
        let query = Query::weather(&Location::Id(place), Units::Metric, None);
        let cache = locked(&self.fleet).replicas[replica].cache.clone();
        if let Some(answer) = cache.recall(&query) {
            locked(&self.books).note(asked, self.now(), &Ok(answer));
            return;
        }
        let world = Arc::clone(self);
        tokio::spawn(async move {
            let result = cache.load(query, caller).await;
            locked(&world.books).note(asked, world.now(), &result);
        });
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panicked with it")
}

/// A source of randomness of its own for each part, so that one does not change what another does.
fn random(part: u64) -> fastrand::Rng {
    fastrand::Rng::with_seed(SEED + part)
}

/// Ordinary callers ask at random times for random places.
async fn crowd(world: Arc<World>, places: Arc<Places>, requests_per_sec: f64, end: Instant) {
    let (mut random, mut next) = (random(1), world.began);
    loop {
        next += Duration::from_secs_f64(-(1.0 - random.f64()).ln() / requests_per_sec);
        if next >= end {
            return;
        }
        sleep_until(next).await;
        let place = places.any(&mut random) as u64;
        let (caller, replica) = (Caller(random.u64(0..CALLERS)), random.usize(0..world.replicas));
        world.ask(Who::Ordinary, place, caller, replica);
    }
}

/// Somebody goes through places that do not exist.
async fn scanner(world: Arc<World>, end: Instant) {
    let mut random = random(2);
    for place in MADE_UP.. {
        sleep(SCANS_EVERY).await;
        if Instant::now() >= end {
            return;
        }
        world.ask(Who::Scanner, place, SCANNER, random.usize(0..world.replicas));
    }
}

async fn look(world: Arc<World>, end: Instant) {
    while Instant::now() < end {
        sleep(LOOKS_EVERY).await;
        let fleet = locked(&world.fleet);
        for replica in &fleet.replicas {
            locked(&world.books).note_factor(world.now(), replica.upstream.report().adaptive_factor);
        }
    }
}

/// One replica after the other.
async fn restarts(world: Arc<World>, every: Duration, end: Instant) {
    for number in (0..world.replicas).cycle() {
        sleep(every).await;
        if Instant::now() >= end {
            return;
        }
        locked(&world.fleet).restart(number);
    }
}

async fn troubled(world: Arc<World>, from: Duration, to: Duration, trouble: Trouble) {
    sleep_until(world.began + from).await;
    match trouble {
        Trouble::StoreAway => {
            let store = locked(&world.fleet).store.clone();
            store.set_away(true);
            store.lose_everything();
            sleep_until(world.began + to).await;
            store.set_away(false);
        }
        Trouble::Failing | Trouble::RateLimited => {
            world.sky.feel(if trouble == Trouble::Failing { Mood::Failing } else { Mood::RateLimiting });
            sleep_until(world.began + to).await;
            world.sky.feel(Mood::Well);
        }
    }
}
