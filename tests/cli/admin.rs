//! `stratus purge` and `stratus healthcheck` on a running service.

use super::harness::{Ran, Service, Settings, Upstream, free_address, get};

const TOKEN: &str = "canary0token0123456";

/// A service with records in memory before an upstream that is well.
struct World {
    service: Service,
    _upstream: Upstream,
}

impl World {
    fn start(token: &str) -> Self {
        let upstream = Upstream::simulated();
        let settings = Settings::memory()
            .set("upstream.base_url", upstream.url())
            .set("upstream.api_key", "canary0key")
            .set("admin.token", token);
        Self { service: Service::start(&mut settings.command(&["serve"])), _upstream: upstream }
    }

    /// The settings of a client of it.
    fn client(&self, token: &str) -> Settings {
        Settings::memory().set("admin.listen", self.service.admin).set("admin.token", token)
    }

    /// HIT or MISS.
    fn ask(&self, path: &str) -> String {
        let answer = get(self.service.public, path);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.x_cache().to_owned()
    }

    /// Asks until the answers are in the cache.
    fn fill(&self, paths: &[&str]) {
        for path in paths {
            self.ask(path);
            assert_eq!(self.ask(path), "HIT");
        }
    }
}

fn failed(ran: &Ran, reason: &str) {
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.faults().len() == 1 && ran.stderr.contains(reason), "{reason}: {ran:?}");
    ran.shows_no_secret();
}

#[test]
fn a_running_service_is_healthy_and_an_absent_one_is_not() {
    let world = World::start(TOKEN);
    let ran = world.client("").run(&["healthcheck"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), "ready\n", ""), "{ran:?}");

    let nobody = free_address();
    let ran = Settings::memory().set("admin.listen", nobody).run(&["healthcheck"]);
    failed(&ran, &format!("the service cannot be reached on admin.listen, {nobody}: is it running"));
    let ran = Settings::memory().set("admin.listen", "here").run(&["healthcheck"]);
    ran.refused("admin.listen", "is not an address with a port such as 127.0.0.1:3000");
}

#[test]
fn a_service_that_listens_everywhere_is_asked_on_loopback() {
    let settings = Settings::memory().set("admin.listen", "0.0.0.0:0").set("admin.token", TOKEN);
    let service = Service::start(&mut settings.command(&["serve"]));
    assert!(service.admin.ip().is_unspecified());
    let ran = Settings::memory().set("admin.listen", service.admin).run(&["healthcheck"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn a_stopped_service_ends_well_and_is_not_healthy_any_more() {
    let world = World::start(TOKEN);
    let client = world.client("");
    world.service.running.signal("TERM");
    let ran = world.service.running.end();
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    ran.shows_no_secret();
    failed(&client.run(&["healthcheck"]), "cannot be reached");
}

#[test]
fn a_purged_place_is_asked_anew_in_all_units_and_languages_and_others_are_kept() {
    let world = World::start(TOKEN);
    let london = ["/weather/London", "/weather/London?units=imperial", "/weather/London?lang=de&units=standard"];
    world.fill(&london);
    world.fill(&["/weather/Paris"]);
    let ran = world.client(TOKEN).run(&["purge", "London"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert_eq!(ran.stdout, "London: 3 purged\n");
    for path in london {
        assert_eq!(world.ask(path), "MISS", "{path}");
    }
    assert_eq!(world.ask("/weather/Paris"), "HIT");
}

#[test]
fn several_places_are_purged_at_once_and_all_of_them_with_all() {
    let world = World::start(TOKEN);
    let paths = ["/weather/London", "/weather/Paris", "/weather/Tokyo"];
    world.fill(&paths);
    let ran = world.client(TOKEN).run(&["purge", "London", "Paris"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "London: 1 purged\nParis: 1 purged\n"), "{ran:?}");
    assert_eq!(paths.map(|path| world.ask(path)), ["MISS", "MISS", "HIT"]);

    world.fill(&paths);
    let ran = world.client(TOKEN).run(&["purge", "--all"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "everything: all purged\n"), "{ran:?}");
    assert_eq!(paths.map(|path| world.ask(path)), ["MISS", "MISS", "MISS"]);
}

#[test]
fn a_place_that_is_none_is_told_and_the_others_are_purged() {
    let world = World::start(TOKEN);
    world.fill(&["/weather/London", "/weather/Paris"]);
    let ran = world.client(TOKEN).run(&["purge", "London", "id:none", "Paris"]);
    failed(&ran, "id:none: a city id is a positive whole number");
    assert_eq!(ran.stdout, "London: 1 purged\nParis: 1 purged\n");
    assert_eq!(world.ask("/weather/London"), "MISS");
    assert_eq!(world.ask("/weather/Paris"), "MISS");
}

#[test]
fn a_wrong_token_is_refused_with_the_reason_and_nothing_is_purged() {
    let world = World::start(TOKEN);
    world.fill(&["/weather/London"]);
    for arguments in [&["purge", "London"][..], &["purge", "--all"]] {
        let ran = world.client("canary0other0token").run(arguments);
        failed(&ran, "the service has another token: admin.token_file has to be the one that it uses");
    }
    assert_eq!(world.ask("/weather/London"), "HIT");
}

#[test]
fn without_a_token_nothing_is_purged_on_either_side() {
    let world = World::start(TOKEN);
    world.fill(&["/weather/London"]);
    world.client("").run(&["purge", "London"]).refused("admin.token", "give admin.token_file");
    assert_eq!(world.ask("/weather/London"), "HIT");

    let world = World::start("");
    failed(&world.client(TOKEN).run(&["purge", "London"]), "changing state is off: set admin.token_file");
}

#[test]
fn a_token_of_digits_works_as_it_is_written() {
    let world = World::start("0123456");
    world.fill(&["/weather/London"]);
    assert_eq!(world.client("123456").run(&["purge", "London"]).code, Some(1));
    assert_eq!(world.client("0123456").run(&["purge", "London"]).code, Some(0));
    assert_eq!(world.ask("/weather/London"), "MISS");
}
