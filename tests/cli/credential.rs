//! `stratus credential` on a running service.

use axum::Router;
use axum::http::StatusCode;

use super::harness::{Ran, Service, Settings, Upstream, free_address, get, run_with_input};
use super::redis::Redis;

const TOKEN: &str = "canary0token0123456";
const SECRET: &str = "canary0secret0of0the0vault";

/// A service without a key of its own before an upstream that takes any.
struct World {
    service: Service,
    _upstream: Upstream,
}

impl World {
    fn start(token: &str) -> Self {
        let upstream = Upstream::simulated();
        let settings = Settings::memory().set("upstream.base_url", upstream.url()).set("admin.token", token);
        Self { service: Service::start(&mut settings.command(&["serve"])), _upstream: upstream }
    }

    fn client(&self, token: &str) -> Settings {
        Settings::memory().set("admin.listen", self.service.admin).set("admin.token", token)
    }

    fn put(&self, arguments: &[&str], input: &str) -> Ran {
        let arguments = [&["credential", "put"], arguments].concat();
        run_with_input(&mut self.client(TOKEN).command(&arguments), input)
    }

    fn list(&self) -> Vec<String> {
        let ran = self.client(TOKEN).run(&["credential", "list"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
        ran.shows_no_secret();
        ran.stdout.lines().map(str::to_owned).collect()
    }
}

fn failed(ran: &Ran, code: i32, reason: &str) {
    assert_eq!(ran.code, Some(code), "{ran:?}");
    assert!(ran.faults().len() == 1 && ran.stderr.contains(reason), "{reason}: {ran:?}");
    assert!(ran.stdout.is_empty(), "{ran:?}");
    ran.shows_no_secret();
}

#[test]
fn a_secret_from_standard_input_is_used_by_the_service_shown_by_its_reference_and_removed() {
    let world = World::start(TOKEN);
    assert_eq!(get(world.service.public, "/weather/London").status, 503);
    assert!(world.list().is_empty());
    for (arguments, input, ends) in [
        (&["openweathermap"][..], format!("{SECRET}\n"), "3600"),
        (&["openweathermap/second", "--ttl-secs", "60"], SECRET.to_owned(), "60"),
        (&["another"], format!("{SECRET}\r\n"), "3600"),
    ] {
        let ran = world.put(arguments, &input);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
        assert!(ran.stdout.starts_with(&format!("{}: ref_", arguments[0])), "{ran:?}");
        assert!(ran.stdout.ends_with(&format!(", ends in {ends} s\n")), "{ran:?}");
        ran.shows_no_secret();
    }
    assert_eq!(get(world.service.public, "/weather/London").status, 200);
    let listed = world.list();
    assert_eq!(listed.len(), 3, "{listed:?}");
    assert!(listed[0].starts_with("another: ref_") && listed[0].contains(", unused, ends in "), "{listed:?}");
    assert!(listed[1].starts_with("openweathermap: ref_") && listed[1].contains(", in use, "), "{listed:?}");

    let remove = |id| world.client(TOKEN).run(&["credential", "remove", id]);
    let ran = remove("openweathermap");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "openweathermap: removed\n"), "{ran:?}");
    failed(&remove("openweathermap"), 1, "openweathermap: there is no credential of this id");
    assert_eq!(world.list().len(), 2);
}

#[test]
fn a_secret_as_an_argument_is_refused_and_not_repeated() {
    let world = World::start(TOKEN);
    let inline = format!("--secret={SECRET}");
    for arguments in [
        &["openweathermap", SECRET][..],
        &["openweathermap", SECRET, SECRET],
        &["openweathermap", "--secret", SECRET],
        &["openweathermap", &inline],
        &["openweathermap", "--secret"],
    ] {
        let ran = world.put(arguments, SECRET);
        failed(&ran, 2, "a secret is never an argument");
        assert!(ran.stderr.contains("standard input"), "{ran:?}");
    }
    failed(&world.put(&["Canary secret"], SECRET), 2, "an id is one or two parts");
    assert!(world.list().is_empty());
}

#[test]
fn an_input_that_is_no_secret_is_refused_with_the_reason() {
    let world = World::start(TOKEN);
    for (input, code, reason) in [
        ("", 2, "there is no secret on standard input"),
        ("\n", 2, "there is no secret on standard input"),
        ("canary\ncanary\n", 2, "more than one line"),
        ("canary canary", 1, "openweathermap: a secret is 1 to 512 visible ASCII characters"),
        (&"canary".repeat(100), 1, "openweathermap: a secret is 1 to 512 visible ASCII characters"),
        (&"canary".repeat(1_000), 1, "openweathermap: "),
    ] {
        failed(&world.put(&["openweathermap"], input), code, reason);
    }
    failed(&world.put(&["openweathermap", "--ttl-secs", "0"], SECRET), 1, "lives for 1 to 2592000 seconds");
    assert!(world.list().is_empty());
}

#[test]
fn a_wrong_token_none_and_a_service_that_is_away_are_told() {
    let world = World::start(TOKEN);
    let commands = [&["credential", "list"][..], &["credential", "remove", "a"], &["credential", "put", "a"]];
    for command in commands {
        let run = |settings: Settings| run_with_input(&mut settings.command(command), SECRET);
        failed(&run(world.client("canary0other")), 1, "the service has another token");
        run(world.client("")).refused("admin.token", "give admin.token_file");
        let nobody = Settings::memory().set("admin.listen", free_address()).set("admin.token", TOKEN);
        failed(&run(nobody), 1, "the service cannot be reached on admin.listen");
    }
}

#[test]
fn the_doctor_asks_with_the_key_of_the_vault_and_tells_which_one_is_refused() {
    let redis = Redis::start();
    let settings = redis.settings().set("upstream.api_key", "");
    let service = Service::start(&mut settings.command(&["serve"]));
    let client = settings.clone().set("admin.listen", service.admin);
    let check = |settings: &Settings| settings.run(&["check"]);
    assert!(check(&settings).stdout.contains("FAIL  upstream: there is no key to ask with"));
    let ran = run_with_input(&mut client.command(&["credential", "put", "openweathermap"]), SECRET);
    let reference = ran.stdout.split([' ', ',']).nth(1).expect("a reference").to_owned();
    let ran = check(&settings);
    assert!(ran.stdout.contains("ok    upstream: reachable, and it takes the key"), "{ran:?}");

    let refusing = Upstream::start(Router::new().fallback(|| async { (StatusCode::UNAUTHORIZED, "{}") }));
    let ran = check(&settings.set("upstream.base_url", refusing.url()));
    let told = format!("FAIL  upstream: OpenWeatherMap refuses a key of the vault, openweathermap ({reference})");
    assert!(ran.stdout.contains(&told), "{told}: {ran:?}");
    ran.shows_no_secret();
}
