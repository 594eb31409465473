//! Settings of things that are not built yet are refused, and so are words that nobody knows.

use super::harness::Settings;

#[test]
fn a_setting_that_is_not_built_and_matters_is_refused() {
    let ran = Settings::memory().set("telemetry.otlp_endpoint", "http://127.0.0.1:4317").run(&["serve"]);
    ran.refused("telemetry.otlp_endpoint", "is not built into this version");
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
