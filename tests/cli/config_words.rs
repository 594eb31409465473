//! Words that nobody knows are refused, and so are addresses of collectors that traces cannot go to.

use super::harness::Settings;

#[test]
fn an_address_that_traces_cannot_go_to_is_refused_with_the_fix() {
    for (endpoint, fix) in [
        ("collector:4318", "has to begin with http:// or https://"),
        ("4318", "is not a URL such as http://127.0.0.1:4318"),
        ("grpc://127.0.0.1:4317", "has to begin with http:// or https://"),
        ("https://name:canary-password@collector.example", "name a collector of yours that needs none"),
        ("http://127.0.0.1:4318?token=canary-password", "has to be scheme, host, port and path only"),
        ("http://127.0.0.1:4318/v1/traces", "leave /v1/traces out"),
    ] {
        let ran = Settings::memory().set("telemetry.otlp_endpoint", endpoint).run(&["serve"]);
        ran.refused("telemetry.otlp_endpoint", fix);
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
