//! A user who may do more in Redis than is used: told by `stratus check`, by name in the log of a start, and with
//! redis.require_least_privilege = true the service does not start.

use std::process::Command;

use super::check::{check, one_fault};
use super::harness::{Service, run};
use super::redis::{Redis, change_users};

const REQUIRED: &str = "redis.require_least_privilege";
const FIX: &str = "move redis-users.acl and its copy for Redis away, let `stratus init` write both anew \
                   (the password stays), and restart Redis";
/// What the log of a service says that looks and finds nothing.
const CONTENT: &str = "Redis allows the user what is used and nothing else";

/// A Redis whose user `stratus` has this at the end of the line.
fn with(rule: &str) -> Redis {
    Redis::start_with(|secrets| {
        change_users(secrets, |users| users.replace("~stratus:*", &format!("~stratus:* {rule}")))
    })
}

/// Every rule that allows more, and the names that are told; the last may be cut off behind "and … more".
const TOO_MUCH: [(&str, &[&str]); 9] = [
    ("+del", &["DEL"]),
    ("+config|get", &["CONFIG GET"]),
    ("+command", &["COMMAND", "COMMAND COUNT", "COMMAND DOCS"]),
    ("+@read", &["BITCOUNT", "DUMP", "EXISTS"]),
    ("~*", &["GET outside stratus:*", "INCRBY outside stratus:*", "SET outside stratus:*", "UNLINK outside stratus:*"]),
    ("%R~*", &["GET outside stratus:*"]),
    ("~stratus*", &["GET outside stratus:*"]),
    ("&* +publish", &["PUBLISH"]),
    ("(+@all ~*)", &["ACL CAT", "APPEND"]),
];

#[test]
fn every_right_too_many_is_told_by_name_by_the_doctor_and_in_the_log_of_a_start() {
    for (rule, names) in TOO_MUCH {
        let redis = with(rule);
        let ran = check(&redis, &redis.settings());
        one_fault(&ran, "redis rights", "the user may also run ", FIX);

        let mut service = Service::start(&mut redis.settings().command(&["serve"]));
        let line = match service.running.read().lines().find(|line| line.contains("allows the user more")) {
            Some(line) => line.to_owned(),
            None => service.running.line("allows the user more"),
        };
        let event: serde_json::Value = serde_json::from_str(&line).expect("a JSON log");
        assert_eq!((event["level"].as_str(), event["fix"].as_str()), (Some("WARN"), Some(FIX)), "{event}");
        let too_many = event["too_many"].as_str().expect("names");
        let told: Vec<_> = too_many.split(" and ").next().unwrap().split(", ").collect();
        for name in names {
            assert!(told.contains(name), "{rule}: {name} in {event}");
        }
        assert!(ran.stdout.contains(&format!("the user may also run {too_many}; {FIX}")), "{ran:?}");
        let count = event["count"].as_u64().expect("a count");
        let more = usize::try_from(count).unwrap().saturating_sub(told.len());
        assert_eq!(too_many.ends_with(&format!(" and {more} more")), more > 0, "{event}");
        assert!(told.len() <= 20, "{event}");
    }
}

#[test]
fn with_least_privilege_required_a_right_too_many_keeps_the_service_from_starting_in_one_line() {
    for (rule, names) in TOO_MUCH {
        let redis = with(rule);
        let settings = redis.settings().set(REQUIRED, true);
        let ran = settings.run(&["serve"]);
        ran.refused(REQUIRED, FIX);
        assert!(ran.faults()[0].contains("the user may also run ") && ran.faults()[0].contains(names[0]), "{ran:?}");
        one_fault(&check(&redis, &settings), "redis rights", names[0], FIX);
    }
}

#[test]
fn a_right_to_read_elsewhere_is_not_told_as_one_to_write() {
    let redis = with("%R~*");
    one_fault(&check(&redis, &redis.settings()), "redis rights", "may also run GET outside stratus:*", FIX);
    assert!(!check(&redis, &redis.settings()).stdout.contains("SET outside"));
}

#[test]
fn channels_without_a_command_that_uses_them_are_no_right() {
    let redis = with("&*");
    let ran = check(&redis, &redis.settings().set(REQUIRED, true));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let refused = redis_cli(&redis, "stratus", &password(&redis), &["PUBLISH", "channel", "message"]);
    assert!(refused.starts_with("NOPERM"), "{refused}");
}

#[test]
fn a_user_who_may_not_ask_is_told_as_not_completely_looked_at_and_refused_where_it_is_required() {
    for rule in ["-acl|dryrun", "-command|info", "-acl|dryrun -command|info"] {
        let redis = with(rule);
        let ran = check(&redis, &redis.settings());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let good = "ok    redis rights: the user is refused the 14 other commands that were tried";
        assert!(ran.stdout.contains(good), "{ran:?}");
        let note = ran.stdout.lines().find(|line| line.starts_with("note  redis rights: ")).expect("a note");
        assert!(note.contains("may not run COMMAND INFO, ACL DRYRUN") && note.ends_with(FIX), "{note}");

        let mut service = Service::start(&mut redis.settings().command(&["serve"]));
        if !service.running.read().contains("cannot be told") {
            let line = service.running.line("whether Redis allows the user more than is used cannot be told");
            assert!(line.contains(FIX), "{line}");
        }

        let required = redis.settings().set(REQUIRED, true);
        let ran = required.run(&["serve"]);
        ran.refused(REQUIRED, FIX);
        one_fault(&check(&redis, &required), "redis rights", "cannot be told", FIX);
    }
    // The few that are tried are still told.
    let redis = with("-acl|dryrun +dump");
    one_fault(&check(&redis, &redis.settings()), "redis rights", "may also run DUMP", FIX);
}

#[test]
fn a_start_and_a_check_leave_nothing_in_the_acl_log() {
    let inspector = "user inspector reset on >inspector ~* &* +@all\n";
    let redis = Redis::start_with(|secrets| change_users(secrets, |users| users + inspector));
    let settings = redis.settings();
    for required in [false, true] {
        let settings = settings.clone().set(REQUIRED, required).set("log.filter", "info,stratus=debug");
        let mut service = Service::start(&mut settings.command(&["serve"]));
        if !service.running.read().contains(CONTENT) {
            service.running.line(CONTENT);
        }
        assert_eq!(super::harness::get(service.public, "/weather/London").status, 200);
        drop(service);
        let ran = check(&redis, &settings);
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    let log = || redis_cli(&redis, "inspector", "inspector", &["ACL", "LOG"]);
    assert_eq!(log().trim(), "");
    // The test would pass without any log, too.
    redis_cli(&redis, "stratus", &password(&redis), &["PING"]);
    assert!(log().contains("ping"), "{}", log());
}

fn password(redis: &Redis) -> String {
    std::fs::read_to_string(redis.secret("redis-password")).expect("the password").trim().to_owned()
}

/// What redis-cli prints, errors included.
fn redis_cli(redis: &Redis, user: &str, password: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("redis-cli");
    command
        .args(["-u", &redis.server.url(), "--no-auth-warning", "--user", user])
        .args(["--cacert", "ca.crt", "--cert", "stratus.crt", "--key", "stratus.key"])
        .args(arguments)
        .env("REDISCLI_AUTH", password)
        .current_dir(redis.secret(""));
    let ran = run(&mut command);
    ran.stdout + &ran.stderr
}
