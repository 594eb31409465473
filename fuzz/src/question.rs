//! Questions on OpenWeatherMap's own paths: whatever is written there, what is asked is one of the table, in one spelling, and
//! asks for nothing else.

use percent_encoding::percent_decode_str;
use stratus::upstream::fuzzing::request_url;
use stratus::weather::{Endpoint, Host, Query, Shape, appid};
use url::Url;

const KEY: &str = "0123456789abcdef0123456789abcdef";
const BASE: &str = "https://gateway.example:8443/some/path";

/// The first line is the path, the rest the parameters.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (path, parameters) = text.split_once('\n').unwrap_or((&text, ""));
    let _ = appid(parameters);
    let Some(endpoint) = Endpoint::at(path) else { return };
    let Ok(query) = Query::at(endpoint, path, parameters) else { return };
    assert_eq!(query.endpoint(), endpoint);
    assert!((1..=20).contains(&query.calls()), "{}", query.calls());
    assert_eq!(query.subject(), format!("{}\n{}", endpoint.name, query.parameters()));
    has_one_spelling(endpoint, &query);
    asks_for_nothing_else(endpoint, &query);
}

fn has_one_spelling(endpoint: &'static Endpoint, query: &Query) {
    let text = query.parameters();
    assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"&=%+-._*".contains(&byte)), "{text}");
    let (path, parameters) = query.target();
    assert_eq!(Query::at(endpoint, &path, parameters).as_ref(), Ok(query), "{path}?{parameters} is another question");
    let names: Vec<_> = text.split('&').filter_map(|pair| Some(pair.split_once('=')?.0)).collect();
    assert!(names.is_sorted() && names.windows(2).all(|two| two[0] != two[1]), "{text}");
    if endpoint.shape != Shape::Pages {
        let known = |name: &str| {
            ["q", "id", "zip", "lat", "lon"].contains(&name)
                || endpoint.parameters.iter().any(|parameter| parameter.name == name)
        };
        assert!(names.iter().all(|name| known(name)), "{text}");
    }
}

/// The upstream is asked on its own host, under the endpoint's path, with these parameters and the key, last and once.
fn asks_for_nothing_else(endpoint: &Endpoint, query: &Query) {
    let base = Url::parse(BASE).expect("a constant");
    let url = request_url(base.clone(), query, KEY);
    assert_eq!(url.origin(), base.origin());
    assert_eq!((url.fragment(), url.username(), url.password()), (None, "", None));
    let (path, parameters) = query.target();
    let asked = percent_decode_str(url.path()).decode_utf8().expect("UTF-8");
    assert_eq!(asked, format!("{}{path}", base.path()));
    assert!(!path.contains("..") && path.split('/').count() == endpoint.paths[0].split('/').count(), "{path}");
    let expected = match (endpoint.host, parameters) {
        (Host::Site, _) => None,
        (_, "") => Some(format!("appid={KEY}")),
        _ => Some(format!("{parameters}&appid={KEY}")),
    };
    assert_eq!(url.query(), expected.as_deref());
    let keys = url.query_pairs().filter(|(name, _)| name.eq_ignore_ascii_case("appid")).count();
    assert_eq!(keys, usize::from(expected.is_some()));
}
