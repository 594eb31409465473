//! Places are private on these paths as they are on our own: no log line at the usual level, no metric and no name in Redis
//! tells one.

use reqwest::Method;

use super::{body_of, endpoint, parameter};
use crate::harness::canaries::everything_of;
use crate::harness::{Canaries, Inspector, Redis, Reply, ScriptedUpstream, Setup, answer};

/// A place in every form, and what else says who is interested in what.
const PLACES: [&str; 8] =
    ["Quetzaltenango", "91827364", "SW1A2AA", "61.2181", "-149.9003", "1589173299", "harvest-cursor", "2019-03-17"];

const QUESTIONS: [&str; 14] = [
    "/data/2.5/weather?q=Quetzaltenango",
    "/data/2.5/weather?id=91827364",
    "/data/2.5/forecast?zip=SW1A2AA,GB&cnt=3",
    "/data/3.0/onecall?lat=61.2181&lon=-149.9003",
    "/data/3.0/onecall/timemachine?lat=61.2181&lon=-149.9003&dt=1589173299",
    "/data/3.0/onecall/day_summary?lat=61.2181&lon=-149.9003&date=2019-03-17",
    "/data/4.0/onecall/timeline/1h?lat=61.2181&lon=-149.9003&page=harvest-cursor",
    "/data/2.5/group?id=91827364,1",
    "/geo/1.0/direct?q=Quetzaltenango",
    "/geo/1.0/reverse?lat=61.2181&lon=-149.9003",
    // What is refused here, what the upstream refuses, and what there is not.
    "/data/2.5/weather?q=Quetzaltenango&mode=xml",
    "/data/2.5/find?q=Quetzaltenango&type=like",
    "/data/2.5/Quetzaltenango",
    "/geo/1.0/Quetzaltenango/?lat=61.2181",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_place_is_told_by_a_log_a_metric_or_redis() {
    let (upstream, mut redis) = (ScriptedUpstream::start(Reply::never()).await, Redis::start().await);
    upstream.reply_with(|request| match parameter(request, "type") {
        Some(_) => Reply::json(500, r#"{"cod":"500","message":"Quetzaltenango"}"#),
        None => Reply::json(200, body_of(&request.path)),
    });
    let mut inspector = Inspector::enter(&mut redis).await;
    let program = Setup::redis(&upstream, &redis).program().await;
    let mut given = Vec::new();
    for path in QUESTIONS {
        given.push(program.get(path).await);
        given.push(answer(program.request(Method::GET, path).header("content-length", "0")).await);
        given.push(answer(program.request(Method::POST, path)).await);
    }
    assert_eq!(given.iter().filter(|answer| answer.status == 200).count(), 20);
    let places = Canaries::texts(PLACES);
    let metrics = answer(program.admin_request(Method::GET, "/metrics")).await;
    let status = answer(program.admin_request(Method::GET, "/status")).await;
    places.absent_from("metrics and status", &everything_of([&metrics, &status]));
    // The route is told, by its template.
    for path in
        QUESTIONS[..12].iter().map(|question| endpoint(question).paths[0]).chain(["/data/{path}", "/geo/{path}"])
    {
        assert!(metrics.text().contains(&format!("route=\"{path}\"")), "{path}");
    }
    let mut kept = Vec::new();
    for name in inspector.names().await {
        kept.extend_from_slice(name.as_bytes());
        kept.extend(inspector.run::<Option<Vec<u8>>>("DUMP", &name).await.unwrap_or_default());
    }
    places.absent_from("Redis", &kept);
    let log = program.stop().await;
    assert!(log.len() > given.len(), "a line for every request");
    places.absent_from("the log", log.join("\n").as_bytes());
}
