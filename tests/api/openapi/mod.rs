//! `/openapi.json` and `/docs`: the description is of this service, as it is.

mod bodies;
mod clients;
mod schema;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use reqwest::Method;
use serde_json::Value;
use stratus::demo::simulated;
use stratus::weather::{ENDPOINTS, Shape};

use crate::harness::{Reply, ScriptedUpstream, Service, Setup, answer};

/// Unix seconds at which it is asked of the simulation.
const NOW: i64 = 1_772_366_400;

/// An upstream with made-up weather for every question, and an image for every file.
pub(super) async fn upstream() -> ScriptedUpstream {
    let upstream = ScriptedUpstream::start(Reply::never()).await;
    upstream.reply_with(|request| {
        if request.path.ends_with(".png") {
            return Reply::json(200, &b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"[..]).header("Content-Type", "image/png");
        }
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&request.query);
        let reply = simulated::reply(&request.path, &query.finish(), NOW);
        Reply::json(reply.status.as_u16(), reply.body)
    });
    upstream
}

async fn service() -> (ScriptedUpstream, Service) {
    let upstream = upstream().await;
    let service = Setup::memory(&upstream).set("server.images", true).start().await;
    (upstream, service)
}

async fn document(service: &Service) -> Value {
    let answer = service.get("/openapi.json").await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"), "{answer:?}");
    answer.json()
}

/// Its paths.
fn paths(document: &Value) -> BTreeSet<&str> {
    document["paths"].as_object().expect("paths").keys().map(String::as_str).collect()
}

/// A request for each path that leaves out nothing that it has an example of.
fn examples(document: &Value) -> Vec<(String, String)> {
    let mut requests = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        let (mut targets, mut query) = (vec![path.clone()], form_urlencoded::Serializer::new(String::new()));
        for parameter in item["get"]["parameters"].as_array().expect("parameters") {
            let (name, example) = (parameter["name"].as_str().unwrap_or_default(), &parameter["example"]);
            let text = example.as_str().map_or_else(|| example.to_string(), str::to_owned);
            let fill = |target: &String, with: &str| target.replace(&format!("{{{name}}}"), with);
            match (parameter["in"].as_str(), parameter["examples"].as_object()) {
                (Some("path"), Some(several)) => {
                    let several = several.values().map(|example| example["value"].as_str().expect("a place"));
                    targets = several.map(|example| fill(path, example)).collect();
                }
                (Some("path"), None) => targets = targets.iter().map(|target| fill(target, &text)).collect(),
                (Some("query"), _) if !example.is_null() => {
                    query.append_pair(name, &text);
                }
                _ => {}
            }
        }
        let query = query.finish();
        requests.extend(targets.into_iter().map(|target| (path.clone(), format!("{target}?{query}"))));
    }
    requests
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_kept_by_whoever_has_it_and_read_by_pages_of_any_origin() {
    let (_upstream, service) = service().await;
    let whole = answer(service.request(Method::GET, "/openapi.json").header("origin", "https://app.example")).await;
    assert_eq!((whole.status.as_u16(), whole.header("access-control-allow-origin")), (200, "*"), "{:?}", whole.headers);
    assert_eq!(whole.json()["openapi"], "3.1.0");
    let tag = whole.header("etag");
    let again = answer(service.request(Method::GET, "/openapi.json").header("if-none-match", tag)).await;
    assert_eq!((again.status.as_u16(), again.body.len(), again.header("etag")), (304, 0, tag));
    let head = answer(service.request(Method::HEAD, "/openapi.json")).await;
    assert_eq!((head.status.as_u16(), head.body.len(), head.header("etag")), (200, 0, tag));
    assert_eq!(head.header("content-length"), whole.body.len().to_string());
    let packed = answer(service.request(Method::GET, "/openapi.json").header("accept-encoding", "br")).await;
    assert_eq!(packed.header("content-encoding"), "br");
    assert!(packed.body.len() < whole.body.len() / 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_that_is_described_is_served_and_every_path_that_is_served_is_described() {
    let (_upstream, service) = service().await;
    let document = document(&service).await;
    let served = ENDPOINTS.iter().flat_map(|endpoint| endpoint.paths.iter().copied().chain(endpoint.own));
    let described: BTreeSet<_> = served.chain(["/", "/docs", "/openapi.json"]).collect();
    assert_eq!(paths(&document), described);

    // Those that the router is given by name, less what stands for the table, and for the files of a page.
    let code = [include_str!("../../../src/http/mod.rs"), include_str!("../../../src/http/docs/mod.rs")].concat();
    let route = regex::Regex::new(r#"\.route\("([^"]+)""#).expect("an expression");
    for found in route.captures_iter(&code) {
        let path = found[1].split("/{*").next().unwrap_or_default().trim_end_matches("/{file}");
        let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
        let is_described = described.iter().any(|known| *known == path || known.starts_with(&format!("{path}/")));
        assert!(is_described, "{path} is served, but not described");
    }
    let without_images = Setup::memory(&upstream().await).start().await;
    let document = self::document(&without_images).await;
    let images = ENDPOINTS.iter().filter(|endpoint| endpoint.shape == Shape::Png).flat_map(|endpoint| endpoint.paths);
    for path in images {
        assert!(!paths(&document).contains(path), "{path} is not served");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_the_description_is_answered_with_weather() {
    let (_upstream, service) = service().await;
    let document = document(&service).await;
    let requests = examples(&document);
    assert!(requests.len() > paths(&document).len(), "several places are asked for");
    // The first page is tested on its own.
    for (path, request) in requests.iter().filter(|(path, _)| path != "/") {
        for method in [Method::GET, Method::HEAD] {
            let given = answer(service.request(method, request)).await;
            assert_eq!(given.status.as_u16(), 200, "{request}: {given:?}");
            let described = &document["paths"][path]["get"]["responses"]["200"]["content"];
            let media_type = given.header("content-type").split(';').next().unwrap_or_default();
            assert!(described.get(media_type).is_some(), "{request}: {media_type}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_code_of_an_error_that_callers_can_get_is_in_the_description() {
    let (_upstream, service) = service().await;
    let document = document(&service).await;
    let codes = document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"].as_array().expect("codes");
    let described: BTreeSet<_> = codes.iter().filter_map(Value::as_str).collect();
    // What only operators get, on their own listener.
    let for_operators: BTreeSet<_> =
        ["admin-token-not-set", "draining", "invalid-body", "store-unavailable", "vault-full"].into();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/problem.rs");
    let code = fs::read_to_string(source).expect("the errors").replace("MISSING_KEY,", "\"missing-key\",");
    let code = code.split("#[cfg(test)]").next().expect("code");
    let written = regex::Regex::new(r#"S(?:tatusCode)?::[A-Z_]+,\s*"([a-z-]+)","#).expect("an expression");
    let written: BTreeSet<_> = written.captures_iter(code).map(|found| found[1].to_owned()).collect();
    let all: BTreeSet<_> = described.union(&for_operators).map(|code| (*code).to_owned()).collect();
    assert_eq!(written, all);
    assert!(described.is_disjoint(&for_operators));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_needs_a_key_is_described_as_the_operator_has_decided() {
    let upstream = upstream().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("consumers.toml");
    fs::write(&file, "").expect("a file");
    let open = Setup::memory(&upstream).start().await;
    let some = Setup::memory(&upstream).set("access.consumers_file", file.display()).start().await;
    let none = Setup::memory(&upstream).set("access.consumers_file", file.display()).set("access.required", true);
    for (service, optional, refuses) in [(open, true, false), (some, true, true), (none.start().await, false, true)] {
        let document = document(&service).await;
        for (path, schemes) in [("/weather/{location}", 2), ("/data/2.5/weather", 3)] {
            let operation = &document["paths"][path]["get"];
            let security = operation["security"].as_array().expect("a list");
            assert_eq!(security.contains(&serde_json::json!({})), optional, "{path}: {security:?}");
            assert_eq!(security.len(), schemes + usize::from(optional), "{path}: {security:?}");
            assert_eq!(operation["responses"].get("401").is_some(), refuses, "{path}");
        }
        assert!(document["paths"]["/docs"]["get"].get("security").is_none(), "the pages are for everybody");
        assert_eq!(service.get("/docs").await.status.as_u16(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_the_description_has_all_that_it_needs_here_and_may_load_nothing_from_elsewhere() {
    let (_upstream, service) = service().await;
    let link = regex::Regex::new(r#"(?:src|href)="([^"]+)""#).expect("an expression");
    for path in ["/docs", "/docs/"] {
        let page = service.get(path).await;
        assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"), "{path}");
        let policy = page.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(!policy.contains("http") && policy.contains("frame-ancestors 'none'"), "{policy}");
        let links: Vec<_> = link.captures_iter(page.text()).map(|found| found[1].to_owned()).collect();
        assert!(links.len() > 5, "{links:?}");
        for link in links.iter().filter(|link| *link != "/") {
            assert!(link.starts_with('/') && !link.starts_with("//"), "{link} is elsewhere");
            let plain = service.get(link).await;
            assert_eq!(plain.status.as_u16(), 200, "{link}");
            let tag = plain.header("etag");
            let again = answer(service.request(Method::GET, link).header("if-none-match", tag)).await;
            assert_eq!((again.status.as_u16(), again.body.len()), (304, 0), "{link}");
            let packed = answer(service.request(Method::GET, link).header("accept-encoding", "gzip")).await;
            assert!(packed.body.len() <= plain.body.len(), "{link}");
        }
        assert!(!page.text().contains("<script>"), "no script is in the page itself");
    }
    let bundle = "/docs/swagger-ui-bundle.js";
    let (plain, packed) = (
        service.get(bundle).await,
        answer(service.request(Method::GET, bundle).header("accept-encoding", "gzip")).await,
    );
    assert_eq!((plain.header("content-encoding"), packed.header("content-encoding")), ("", "gzip"));
    assert_ne!(plain.header("etag"), packed.header("etag"), "different bytes have different tags");
    let mut inflated = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed.body[..]), &mut inflated).expect("gzip");
    assert_eq!(inflated, plain.body);
    assert_eq!(service.get("/docs/nothing.js").await.code(), "not-found");
}
