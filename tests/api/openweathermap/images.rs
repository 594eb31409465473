//! Icons and map tiles, where the operator has turned them on: the same bytes out of the same cache, errors in JSON.

use super::{UNKNOWN_PATH, is_an_error, parameter};
use crate::harness::{API_KEY, Answer, Reply, ScriptedUpstream, Service, Setup};

const ICON: &str = "/img/wn/10d@2x.png";
const TILE: &str = "/map/clouds_new/1/0/1.png";
/// An image as far as anybody looks into it, with bytes that are no text.
const IMAGE: &[u8] = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR\xff\xfe\x00";

async fn on(upstream: &ScriptedUpstream) -> Service {
    Setup::memory(upstream).set("server.images", true).start().await
}

#[track_caller]
fn is_the_image(answer: &Answer, x_cache: &str) {
    assert_eq!((answer.status.as_u16(), answer.x_cache()), (200, x_cache), "{answer:?}");
    assert_eq!((answer.header("content-type"), &answer.body[..]), ("image/png", IMAGE), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), "*");
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_asked_for_once_and_only_tiles_with_the_key() {
    let upstream = ScriptedUpstream::start(Reply::json(200, IMAGE).header("Content-Type", "image/png")).await;
    let service = on(&upstream).await;
    for (path, max_age) in [(ICON, "public, max-age=86400,"), (TILE, "public, max-age=1800,")] {
        let miss = service.get(&format!("{path}?appid=whatever")).await;
        is_the_image(&miss, "MISS");
        assert!(miss.header("cache-control").starts_with(max_age), "{miss:?}");
        is_the_image(&service.get(&format!("{path}?appid=another&_=5")).await, "HIT");
    }
    let requests = upstream.requests();
    let paths: Vec<_> = requests.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(paths, [ICON, TILE]);
    assert_eq!((requests[0].query.len(), parameter(&requests[1], "appid")), (0, Some(API_KEY)));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_leave_of_the_operator_there_are_no_images() {
    let upstream = ScriptedUpstream::start(Reply::json(200, IMAGE)).await;
    let service = Setup::memory(&upstream).start().await;
    for path in [ICON, TILE] {
        super::says(&service.get(path).await, 404, UNKNOWN_PATH);
    }
    assert_eq!(upstream.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_name_of_an_image_is_refused_and_what_is_no_image_is_not_passed_on() {
    let upstream = ScriptedUpstream::start(Reply::json(200, "<html>")).await;
    let service = on(&upstream).await;
    for path in [
        "/img/wn/10d",
        "/img/wn/..%2F..%2Fdata.png",
        "/img/wn/%2e%2e%2f10d.png",
        "/img/wn/10d.png%3Fkey=1",
        "/map/clouds%2F..%2F/1/0/1.png",
        "/map/clouds_new/x/0/1.png",
        "/map/clouds_new/1/0/1.jpg",
    ] {
        let refused = service.get(path).await;
        assert!([400, 404].contains(&refused.status.as_u16()), "{path}: {refused:?}");
        is_an_error(&refused, refused.status.as_u16());
    }
    assert_eq!(upstream.calls(), 0);
    for path in [ICON, TILE] {
        is_an_error(&service.get(path).await, 502);
    }
    let none = ScriptedUpstream::start(Reply::json(404, "<html>")).await;
    let service = on(&none).await;
    for path in [ICON, TILE] {
        let unknown = service.get(path).await;
        assert_eq!((unknown.status.as_u16(), unknown.json()["cod"].as_str()), (404, Some("404")), "{unknown:?}");
    }
}
