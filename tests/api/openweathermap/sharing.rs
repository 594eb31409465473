//! One question is one record and one call, on whichever path and in whichever spelling it is asked; and two are two.

use std::collections::BTreeSet;

use reqwest::Method;

use super::{has_their_headers, service_on_everything};
use crate::harness::answer;

/// Each line of a group is the same question.
const SAME: [&[&str]; 12] = [
    &[
        "/weather/London",
        "/data/2.5/weather?q=London&units=metric",
        "/data/2.5/weather?units=METRIC&appid=one&q=LONDON",
        "/data/2.5/weather?APPID=another&mode=json&q=%20london%20&units=metric&q=Paris",
        "/data/2.5/weather?q=London&units=metric&_=1700000000000&callback=&lang=&id=5&lat=1&lon=2",
        "/data/2.5/weather?q=&q=London&units=metric&mode=JSON&AppId=a&cnt=7",
        "/data/2.5/weather/?q=London&units=metric",
        "//data/2.5//weather?q=London&units=metric",
    ],
    &[
        "/data/2.5/weather?q=New%20York,NY,US",
        "/data/2.5/weather?q=new+york%2Cny%2Cus&units=standard",
        "/data/2.5/weather?q=New++York%20,%20NY,us&units=internal",
        "/weather/New%20York,NY,US?units=standard",
    ],
    &[
        "/data/2.5/weather?lat=51.5073&lon=-0.1277",
        "/data/2.5/weather?lon=-.13&lat=%2B51.51",
        "/data/2.5/weather?lat=51.50999&lon=-0.1300&zip=%20&id=",
        "/weather/51.51,-0.13?units=standard",
    ],
    &[
        "/data/2.5/weather?id=2643743&lang=DE",
        "/data/2.5/weather?lang=de-AT&id=02643743",
        "/weather/id:2643743?units=standard&lang=de",
    ],
    &[
        "/data/2.5/weather?zip=94040&units=imperial",
        "/data/2.5/weather?zip=94040,US&units=Imperial",
        "/weather/zip:94040?units=imperial",
    ],
    &[
        "/forecast/London",
        "/data/2.5/forecast?q=LONDON&units=metric&exclude=daily",
        "/data/2.5/forecast/city?q=london&units=metric",
        "/data/2.5/forecast/weather/?units=metric&q=london",
    ],
    &["/weather/Biel%2FBienne?units=standard", "/data/2.5/weather?q=Biel/Bienne", "/data/2.5/weather?q=biel%2fbienne"],
    &[
        "/forecast/London?cnt=3",
        "/data/2.5/forecast?cnt=03&q=london&units=metric",
        "/forecast/london?cnt=3&units=metric",
    ],
    &[
        "/data/2.5/onecall?lat=33.441792&lon=-94.037689",
        "/data/3.0/onecall?lon=-94.04&lat=33.44&exclude=nothing",
        "/data/3.0/onecall?lat=33.44&lon=-94.0400&dt=17",
    ],
    &[
        "/data/2.5/onecall?lat=33.44&lon=-94.04&exclude=minutely,hourly",
        "/data/3.0/onecall?lat=33.44&lon=-94.04&exclude=hourly,minutely",
        "/data/3.0/onecall?exclude=HOURLY,%20minutely,hourly,alert&lat=33.44&lon=-94.04",
    ],
    &["/air/51.5,-0.1", "/data/2.5/air_pollution?lat=51.50&lon=-0.10&units=metric&lang=de"],
    &["/geo/1.0/direct?q=London&limit=5", "/geo/1.0/direct?limit=05&q=LONDON&appid=z&lang=de"],
];

/// No two of these are the same question.
const DIFFERENT: [&str; 22] = [
    "/data/2.5/weather?q=London",
    "/data/2.5/weather?q=London&units=metric",
    "/data/2.5/weather?q=London&units=imperial",
    "/data/2.5/weather?q=London&lang=de",
    "/data/2.5/weather?q=London&lang=fr",
    "/data/2.5/weather?q=London,GB",
    "/data/2.5/weather?q=GB,London",
    "/data/2.5/weather?id=2643743",
    "/data/2.5/weather?lat=51.51&lon=-0.13",
    "/data/2.5/weather?lat=51.51&lon=0.13",
    "/data/2.5/weather?lat=51.52&lon=-0.13",
    "/data/2.5/forecast?q=London",
    "/data/2.5/forecast?q=London&cnt=1",
    "/data/2.5/forecast?q=London&cnt=2",
    "/data/2.5/forecast/daily?q=London&cnt=2",
    "/data/3.0/onecall?lat=51.51&lon=-0.13",
    "/data/3.0/onecall?lat=51.51&lon=-0.13&exclude=daily",
    "/data/2.5/air_pollution?lat=51.51&lon=-0.13",
    "/geo/1.0/direct?q=London",
    "/geo/1.0/direct?q=London&limit=1",
    // What is there has a name, which changes from street to street.
    "/geo/1.0/reverse?lat=51.5073&lon=-0.1276",
    "/geo/1.0/reverse?lat=51.5074&lon=-0.1276",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_one_call_on_whichever_path_and_in_whichever_spelling_it_is_asked() {
    let (upstream, service) = service_on_everything().await;
    for (calls, same) in (1..).zip(SAME) {
        let mut answers = BTreeSet::new();
        for (number, path) in same.iter().enumerate() {
            let request = service.request(Method::GET, path);
            let given = answer(request.header("cache-control", "no-cache").header("pragma", "no-cache")).await;
            let expected = if number == 0 { "MISS" } else { "HIT" };
            assert_eq!((given.status.as_u16(), given.x_cache()), (200, expected), "{path}: {given:?}");
            answers.insert((given.header("etag").to_owned(), given.body.clone()));
            if path.contains("/data/") || path.starts_with("/geo/") {
                has_their_headers(&given);
            }
        }
        assert_eq!((upstream.calls(), answers.len()), (calls, 1), "{same:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_differently_is_answered_for_itself() {
    let (upstream, service) = service_on_everything().await;
    for path in DIFFERENT {
        assert_eq!(service.get(path).await.x_cache(), "MISS", "{path}");
    }
    assert_eq!(upstream.calls(), DIFFERENT.len());
    let asked: BTreeSet<_> = upstream.requests().iter().map(|request| request.target.clone()).collect();
    assert_eq!(asked.len(), DIFFERENT.len(), "{asked:#?}");
    for path in DIFFERENT {
        assert_eq!(service.get(path).await.x_cache(), "HIT", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_on_both_paths_at_once_shares_one_call_and_a_head_has_the_headers_of_the_answer() {
    let (upstream, service) = service_on_everything().await;
    let theirs = "/data/2.5/forecast?q=Oslo&units=metric";
    let (own, their) = tokio::join!(service.get("/forecast/Oslo"), service.get(theirs));
    assert_eq!((own.body == their.body, upstream.calls()), (true, 1));
    let (get, head) = (service.get(theirs).await, answer(service.request(Method::HEAD, theirs)).await);
    assert!(head.body.is_empty());
    for name in ["etag", "content-length", "content-type", "cache-control", "link", "x-cache"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
    let known = service.request(Method::GET, theirs).header("if-none-match", get.header("etag"));
    assert_eq!(answer(known).await.status, 304);
}
