//! What callers hold on to: status, codes, headers, and that what is wrong is decided before any cache or network.

use reqwest::Method;

use crate::harness::{Redis, Reply, ScriptedUpstream, Service, Setup, answer, body, raw};

/// Bad requests with the code that each gets.
const BAD: &[(&str, &str)] = &[
    ("/weather/", "invalid-location"),
    ("/weather/%20", "invalid-location"),
    ("/weather/%09%20%0A", "invalid-location"),
    ("/weather/Lon%00don", "invalid-location"),
    ("/weather/Lon%07don", "invalid-location"),
    ("/weather/%FF", "invalid-location"),
    ("/weather/%C3%28", "invalid-location"),
    ("/weather/a%zz", "invalid-location"),
    ("/weather/..%2f..", "invalid-location"),
    ("/weather/%2e%2e%2fadmin", "invalid-location"),
    ("/weather/London&appid=x", "invalid-location"),
    ("/weather/London%26appid=x", "invalid-location"),
    ("/weather/London%3Fappid=x", "invalid-location"),
    ("/weather/London%23x", "invalid-location"),
    ("/weather/91,0", "invalid-location"),
    ("/weather/-90.01,0", "invalid-location"),
    ("/weather/0,181", "invalid-location"),
    ("/weather/NaN,1", "invalid-location"),
    ("/weather/1e400,0", "invalid-location"),
    ("/weather/1,-inf", "invalid-location"),
    ("/weather/id:-1", "invalid-location"),
    ("/weather/id:abc", "invalid-location"),
    ("/weather/id:0", "invalid-location"),
    ("/weather/zip:", "invalid-location"),
    ("/weather/zip:94040,USA", "invalid-location"),
    ("/weather/%F0%9F%8C%A7", "invalid-location"),
    ("/weather/%22London%22", "invalid-location"),
    ("/weather/London%0D%0ASet-Cookie:%20a=b", "invalid-location"),
    ("/weather/%E2%80%AELondon", "invalid-location"),
    ("/weather/12345", "invalid-location"),
    ("/weather/London,,GB", "invalid-location"),
    ("/weather/a,b,c,d", "invalid-location"),
    ("/weather/London?units=kelvin", "invalid-parameter"),
    ("/weather/London?units=", "invalid-parameter"),
    ("/weather/London?lang=%3Cscript%3E", "invalid-parameter"),
    ("/weather/London?lang=de&lang=fr", "invalid-parameter"),
    ("/weather/London?units=metric&units=metric", "invalid-parameter"),
    ("/weather/London?appid=x", "invalid-parameter"),
    ("/weather/London?APPID=x", "invalid-parameter"),
    ("/weather/London?unit=metric", "invalid-parameter"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_request_is_refused_with_its_code_and_touches_neither_cache_nor_network() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::json(200, body("London"))).await, Redis::start().await);
    let service = Setup::redis(&upstream, &redis).start().await;
    let long = format!("/weather/{}", "a".repeat(300));
    let long_utf8 = format!("/weather/{}", "%E5%8C%97".repeat(300));
    for (path, code) in
        BAD.iter().copied().chain([(long.as_str(), "invalid-location"), (&long_utf8, "invalid-location")])
    {
        let refused = raw_get(&service, path).await;
        assert_eq!((refused.status, refused.code.as_str()), (400, code), "{path}");
        let repeats = ["script", "Cookie", "kelvin", "=x", "aaaa"].iter().any(|part| refused.detail.contains(part));
        assert!(refused.detail.len() > 20 && !repeats, "{path}: {}", refused.detail);
    }
    assert_eq!(upstream.calls(), 0);
    assert_eq!(service.metric(r#"stratus_cache_answers_total{result="miss"}"#).await, 0);
    // Nothing was lost: the service answers as before.
    assert_eq!(service.get("/weather/London").await.x_cache(), "MISS");
    assert_eq!(service.get("/weather/London").await.x_cache(), "HIT");
}

/// An answer to a request line that stands on the wire exactly as given.
struct Refused {
    status: u16,
    code: String,
    detail: String,
}

async fn raw_get(service: &Service, path: &str) -> Refused {
    let request = format!("GET {path} HTTP/1.1\r\nhost: stratus\r\nx-request-id: r-1\r\nconnection: close\r\n\r\n");
    let answer = raw(service, request.as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.contains("content-type: application/problem+json"), "{path}: {head}");
    assert!(!head.to_lowercase().contains("set-cookie"), "{head}");
    assert!(
        head.contains("cache-status: stratus; detail=invalid-") && head.contains("x-cache: MISS"),
        "{path}: {head}"
    );
    let problem: serde_json::Value = serde_json::from_str(body).expect("a JSON body");
    let text = |name: &str| problem[name].as_str().unwrap_or_else(|| panic!("{name} in {body}")).to_owned();
    let status = head[9..12].parse().expect("a status");
    assert_eq!((text("type"), text("request_id")), (format!("urn:stratus:problem:{}", text("code")), "r-1".into()));
    assert_eq!(problem["status"], status);
    assert!(!text("title").is_empty());
    Refused { status, code: text("code"), detail: text("detail") }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_a_location_reaches_the_upstream_in_its_own_parameter() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("x"))).await;
    let service = Setup::memory(&upstream).start().await;
    let forms: [(&str, &[(&str, &str)]); 10] = [
        ("London", &[("q", "london")]),
        ("London,GB", &[("q", "london,gb")]),
        ("Portland,OR,US", &[("q", "portland,or,us")]),
        ("51.5074,-0.1278", &[("lat", "51.51"), ("lon", "-0.13")]),
        ("id:2643743", &[("id", "2643743")]),
        ("zip:94040,US", &[("zip", "94040,us")]),
        ("%E5%8C%97%E4%BA%AC", &[("q", "北京")]),
        ("%D8%A7%D9%84%D9%82%D8%A7%D9%87%D8%B1%D8%A9", &[("q", "القاهرة")]),
        ("L'Aquila", &[("q", "l'aquila")]),
        ("Saint-Denis,RE", &[("q", "saint-denis,re")]),
    ];
    for (segment, parameters) in forms {
        assert_eq!(service.get(&format!("/weather/{segment}")).await.status, 200, "{segment}");
        let asked = upstream.requests().pop().expect("a request");
        assert_eq!(asked.path, "/data/2.5/weather");
        for (name, value) in parameters {
            assert!(asked.query.contains(&((*name).to_owned(), (*value).to_owned())), "{segment}: {:?}", asked.query);
        }
        assert!(asked.query.contains(&("units".to_owned(), "metric".to_owned())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_200_has_the_headers_of_the_contract() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("London"))).await;
    let service = Setup::memory(&upstream).start().await;
    let first = service.get("/weather/London").await;
    assert_eq!(first.header("content-type"), "application/json; charset=utf-8");
    assert_eq!(first.header("cache-control"), "public, max-age=300, stale-while-revalidate=60, stale-if-error=3600");
    assert_eq!(first.header("age"), "0");
    let link = "<https://openweathermap.org/>; rel=\"license\"; title=\"Weather data provided by OpenWeather\"";
    assert_eq!(first.header("link"), link);
    let etag = first.header("etag");
    assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() > 20, "{etag}");
    assert_eq!(first.header("x-request-id").len(), 32);
    assert_ne!(first.header("x-request-id"), service.get("/weather/London").await.header("x-request-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_tells_browsers_to_run_frame_and_guess_nothing_and_to_pass_no_place_on() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("London"))).await;
    let service = Setup::memory(&upstream).start().await;
    let tag = service.get("/weather/London").await.header("etag").to_owned();
    let conditional = service.request(Method::GET, "/weather/London").header("if-none-match", tag);
    let preflight = service
        .request(Method::OPTIONS, "/weather/London")
        .header("origin", "https://any.example")
        .header("access-control-request-method", "GET");
    let mut answers = vec![answer(conditional).await, answer(preflight).await];
    for path in ["/weather/London", "/weather/%00", "/weather/London?unit=x", "/nowhere"] {
        for method in [Method::GET, Method::HEAD, Method::POST] {
            answers.push(answer(service.request(method, path)).await);
        }
    }
    let statuses: std::collections::BTreeSet<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    assert_eq!(statuses, [200, 304, 400, 404, 405].into());
    for answer in answers {
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "cross-origin"),
        ] {
            assert_eq!(answer.headers.get_all(name).iter().collect::<Vec<_>>(), [value], "{name}: {answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_to_an_operator_is_kept_run_or_framed_by_a_browser() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("London"))).await;
    let service = Setup::memory(&upstream).start().await;
    for path in ["/livez", "/readyz", "/metrics", "/status", "/purge", "/nowhere"] {
        let answer = service.admin_get(path).await;
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("content-security-policy"), "default-src 'none'; frame-ancestors 'none'", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_well_formed_request_id_is_kept_and_another_is_replaced() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("London"))).await;
    let service = Setup::memory(&upstream).start().await;
    for (sent, kept) in [("abc-123", true), ("a b", false), ("\"x\"", false), (&*"x".repeat(200), false)] {
        let answered = answer(service.request(Method::GET, "/nowhere").header("x-request-id", sent)).await;
        assert_eq!(answered.header("x-request-id") == sent, kept, "{sent}");
        assert_eq!(answered.json()["request_id"], answered.header("x-request-id"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_addresses_and_methods_have_their_codes() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("London"))).await;
    let service = Setup::memory(&upstream).start().await;
    for path in ["/nowhere", "/weather", "/weather/London/now", "/weather/London/", "/livez", "/metrics", "/purge"] {
        let missing = service.get(path).await;
        assert_eq!((missing.status.as_u16(), missing.code().as_str()), (404, "not-found"), "{path}");
    }
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::TRACE] {
        let refused = answer(service.request(method.clone(), "/weather/London")).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (405, "method-not-allowed"), "{method}");
        assert_eq!(refused.header("allow"), "GET,HEAD");
    }
    assert_eq!(upstream.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_place_is_404_and_says_what_to_try() {
    let upstream = ScriptedUpstream::start(Reply::json(404, r#"{"cod":"404","message":"city not found"}"#)).await;
    let service = Setup::memory(&upstream).start().await;
    let missing = service.get("/weather/Atlantis").await;
    assert_eq!((missing.status.as_u16(), missing.code().as_str()), (404, "unknown-location"));
    assert_eq!(missing.header("cache-status"), "stratus; fwd=miss; fwd-status=404; stored");
    assert_eq!(missing.header("cache-control"), "no-store");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_any_origin_may_read_answers_unless_a_list_says_which() {
    let upstream = ScriptedUpstream::start(Reply::json(200, body("London"))).await;
    let open = Setup::memory(&upstream).start().await;
    let ask = |service: &Service, origin: &str| {
        service.request(Method::GET, "/weather/London").header("origin", origin.to_owned())
    };
    let answered = answer(ask(&open, "https://any.example")).await;
    assert_eq!(answered.header("access-control-allow-origin"), "*");
    assert_eq!(answered.header("vary"), "");
    assert!(answered.header("access-control-expose-headers").contains("x-cache"));

    let listed = Setup::memory(&upstream).set("server.allow_origins", "https://app.example").start().await;
    let allowed = answer(ask(&listed, "https://app.example")).await;
    assert_eq!(allowed.header("access-control-allow-origin"), "https://app.example");
    assert_eq!(allowed.header("vary"), "origin");
    assert_eq!(answer(ask(&listed, "https://other.example")).await.header("access-control-allow-origin"), "");

    let preflight = open
        .request(Method::OPTIONS, "/weather/London")
        .header("origin", "https://any.example")
        .header("access-control-request-method", "GET");
    let preflight = answer(preflight).await;
    assert_eq!((preflight.status.as_u16(), preflight.header("access-control-allow-methods")), (200, "GET,HEAD"));
}
