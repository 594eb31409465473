//! Settings of things that are not built yet are refused, and so are words that nobody knows.

use super::harness::Settings;

#[test]
fn settings_that_are_not_built_and_matter_are_refused_all_at_once() {
    let refused = [
        ("redis.topology", "cluster"),
        ("redis.nodes", "rediss://a:1"),
        ("redis.sentinel_master", "mymaster"),
        ("telemetry.otlp_endpoint", "http://127.0.0.1:4317"),
    ];
    let settings = refused.iter().fold(Settings::memory(), |settings, (key, value)| settings.set(key, value));

    let ran = settings.run(&["serve"]);

    assert_eq!(ran.code, Some(2), "{ran:?}");
    let faults = ran.faults();
    assert_eq!(faults.len(), refused.len(), "{ran:?}");
    for (key, _) in refused {
        let told = |line: &&str| line.starts_with(&format!("{key}: ")) && line.contains("built into this version");
        assert!(faults.iter().any(told), "{key}: {ran:?}");
    }
}

#[test]
fn a_word_that_nobody_knows_is_refused_with_those_that_are_known() {
    let ran = Settings::memory().set("redis.topology", "ring").run(&["serve"]);
    ran.refused("redis.topology", "has to be one of: single, sentinel, cluster");
    let ran = Settings::memory().set("log.format", "xml").run(&["serve"]);
    ran.refused("log.format", "has to be one of: json, pretty");
    let ran = Settings::memory().set("log.filter", "stratus=loud").run(&["serve"]);
    ran.refused("log.filter", "is not a list of levels such as info");
    let ran = Settings::memory().set("server.allow_origins", "*,app.example").run(&["serve"]);
    ran.refused("server.allow_origins", "neither \"*\" nor an origin such as https://app.example");
}
