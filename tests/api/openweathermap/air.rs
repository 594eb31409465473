//! Our own paths beside the weather: a forecast, and the air, which OpenWeatherMap knows by coordinates only, of any place.

use super::{body_of, everything, parameter, service_on_everything};
use crate::harness::{Answer, Redis, Reply, ScriptedUpstream, Setup};

#[track_caller]
fn is_a_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-credentials"), "", "that is OpenWeatherMap's");
}

/// The paths and coordinates that were asked for.
fn asked(upstream: &ScriptedUpstream) -> Vec<String> {
    let what = |name: &str, request| parameter(request, name).unwrap_or_default().to_owned();
    let requests = upstream.requests();
    requests.iter().map(|it| format!("{} {},{}", it.path, what("lat", it), what("lon", it))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_air_of_a_place_is_found_by_its_name_and_both_answers_are_kept() {
    let (upstream, redis) = (everything().await, Redis::start().await);
    let setup = || Setup::redis(&upstream, &redis);
    let mut one = setup().start().await;
    one.store_up().await;
    let mut other = setup().clock(&one.clock).start().await;
    other.store_up().await;
    let miss = one.get("/air/London").await;
    assert_eq!((miss.status.as_u16(), miss.x_cache(), miss.text()), (200, "MISS", body_of("/data/2.5/air_pollution")));
    assert_eq!(&miss.header("cache-control")[..20], "public, max-age=1800");
    assert_eq!(asked(&upstream), ["/geo/1.0/direct ,", "/data/2.5/air_pollution 51.51,-0.13"]);
    assert_eq!(parameter(&upstream.requests()[0], "limit"), Some("1"));
    for replica in [&one, &other] {
        for path in ["/air/london", "/air/51.5073,-0.1277", "/data/2.5/air_pollution?lat=51.51&lon=-0.13"] {
            assert_eq!(replica.get(path).await.x_cache(), "HIT", "{path}");
        }
    }
    assert_eq!(upstream.calls(), 2);
    // The place stays where it is when its air is asked for anew.
    one.clock.advance(std::time::Duration::from_secs(1_800 + 60 + 3_600));
    assert_eq!(one.get("/air/London").await.x_cache(), "MISS");
    assert_eq!(asked(&upstream)[2..], ["/data/2.5/air_pollution 51.51,-0.13"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_air_is_asked_for_by_coordinates_by_postal_code_and_by_city_id_too() {
    let (upstream, service) = service_on_everything().await;
    for path in ["/air/51.5,-0.1", "/air/zip:E14,GB", "/air/id:2643743"] {
        assert_eq!(service.get(path).await.status, 200, "{path}");
    }
    let expected = [
        "/data/2.5/air_pollution 51.5,-0.1",
        "/geo/1.0/zip ,",
        "/data/2.5/air_pollution 51.5,-0.01",
        "/data/2.5/weather ,",
        "/data/2.5/air_pollution 51.51,-0.13",
    ];
    assert_eq!(asked(&upstream), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_nobody_knows_has_no_air_and_errors_are_problems_here() {
    for (status, unknown) in [(200, "[]"), (404, r#"{"cod":"404","message":"not found"}"#)] {
        let upstream = ScriptedUpstream::start(Reply::json(status, unknown)).await;
        let service = Setup::memory(&upstream).start().await;
        for x_cache in ["MISS", "HIT"] {
            let unknown = service.get("/air/Atlantis").await;
            is_a_problem(&unknown, 404, "unknown-location");
            assert_eq!(unknown.x_cache(), x_cache);
        }
        assert_eq!(upstream.calls(), 1);
    }
    let (upstream, service) = service_on_everything().await;
    for (path, code) in [
        ("/air/", "invalid-location"),
        ("/air/91,0", "invalid-location"),
        ("/air/%3Cb%3E", "invalid-location"),
        ("/air/London?units=metric", "invalid-parameter"),
        ("/air/London?appid=x", "invalid-parameter"),
        ("/air/51.5,-0.1?lang=de", "invalid-parameter"),
    ] {
        is_a_problem(&service.get(path).await, 400, code);
    }
    assert_eq!(upstream.calls(), 0);
    is_a_problem(&service.get("/air/London/now").await, 404, "not-found");
    for nonsense in ["{}", r#"[{"name":"London"}]"#, r#"[{"lat":"51","lon":"0"}]"#, r#"[{"lat":512,"lon":0}]"#] {
        let upstream = ScriptedUpstream::start(Reply::json(200, nonsense)).await;
        let service = Setup::memory(&upstream).start().await;
        is_a_problem(&service.get("/air/London").await, 502, "upstream-invalid-response");
    }
    upstream.stop();
    for path in ["/air/Oslo", "/air/1,1", "/forecast/Oslo"] {
        is_a_problem(&service.get(path).await, 503, "upstream-unavailable");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forecast_is_of_as_many_steps_as_is_asked_and_what_is_no_number_of_steps_is_refused() {
    let (upstream, service) = service_on_everything().await;
    for (path, count) in
        [("/forecast/London?cnt=3", Some("3")), ("/forecast/London", None), ("/forecast/1,1?cnt=40", Some("40"))]
    {
        let given = service.get(path).await;
        assert_eq!((given.status.as_u16(), given.text()), (200, body_of("/data/2.5/forecast")), "{path}");
        let request = upstream.requests().pop().expect("a call");
        assert_eq!((parameter(&request, "cnt"), parameter(&request, "units")), (count, Some("metric")), "{path}");
    }
    for wrong in ["cnt=0", "cnt=x", "cnt=", "cnt=-1", "cnt=41", "cnt=1.5", "cnt=3&cnt=4", "exclude=daily", "dt=5"] {
        is_a_problem(&service.get(&format!("/forecast/London?{wrong}")).await, 400, "invalid-parameter");
    }
    is_a_problem(&service.get("/forecast/").await, 400, "invalid-location");
    assert_eq!(upstream.calls(), 3);
}
