use std::collections::HashSet;

use super::*;

/// The table of `docs/openweathermap.md`.
fn documented() -> String {
    let row = |endpoint: &Endpoint| {
        let own = endpoint.own.map(|own| format!(", `{own}`")).unwrap_or_default();
        let place = match endpoint.place {
            Place::Any => "`q`, `id`, `zip`, or `lat` and `lon`",
            Place::NameOrPoint => "`q`, or `lat` and `lon`",
            Place::Point | Place::ExactPoint => "`lat` and `lon`",
            Place::Name => "`q`",
            Place::Zip => "`zip`",
            Place::Other => "",
        };
        let others = endpoint.parameters.iter().map(|parameter| match parameter.required {
            true => format!("`{}`", parameter.name),
            false => format!("[`{}`]", parameter.name),
        });
        let pages = (endpoint.shape == Shape::Pages).then(|| "what its links have".to_owned());
        let place = (!place.is_empty()).then(|| place.to_owned());
        let parameters: Vec<_> = place.into_iter().chain(others).chain(pages).collect();
        let fresh = endpoint.fresh.map_or("`cache.fresh_secs`".to_owned(), |fresh| format!("{} s", fresh.as_secs()));
        let plan = if endpoint.plan == Plan::Every { "every" } else { "some" };
        let paths: Vec<_> = endpoint.paths.iter().map(|path| format!("`{path}`")).collect();
        format!("| {}{own} | {} | {fresh} | {plan} |\n", paths.join(", "), parameters.join("; "))
    };
    let rows: String = ENDPOINTS.iter().map(row).collect();
    format!("| path | asked by | fresh | plan |\n|---|---|---|---|\n{rows}")
}

#[test]
fn the_documented_endpoints_are_these() {
    let page = include_str!("../../../docs/openweathermap.md");
    assert!(page.contains(&documented()), "docs/openweathermap.md should have this table:\n\n{}", documented());
}

#[test]
fn no_two_endpoints_share_a_name_or_a_path() {
    let names: HashSet<_> = ENDPOINTS.iter().map(|endpoint| endpoint.name).collect();
    let paths: Vec<_> =
        ENDPOINTS.iter().flat_map(|endpoint| endpoint.paths.iter().copied().chain(endpoint.own)).collect();
    assert_eq!(names.len(), ENDPOINTS.len());
    assert_eq!(paths.iter().collect::<HashSet<_>>().len(), paths.len());
    for endpoint in &ENDPOINTS {
        assert!(endpoint.paths.iter().all(|path| Endpoint::at(path) == Some(endpoint)), "{}", endpoint.name);
        assert!(endpoint.fresh.is_none_or(|fresh| fresh <= LONGEST_FRESH), "{}", endpoint.name);
    }
}

#[test]
fn a_path_fits_a_template_part_by_part() {
    let tile = "/map/{layer}/{z}/{x}/{y}";
    let found = captures(tile, "/map/clouds_new/3/4/5.png").map(|found| found.to_vec());
    assert_eq!(found, Some(vec![("layer", "clouds_new"), ("z", "3"), ("x", "4"), ("y", "5.png")]));
    for path in ["/map/clouds_new/3/4", "/map/clouds_new/3/4/5.png/6", "/maps/clouds_new/3/4/5.png", "/map"] {
        assert_eq!(captures(tile, path), None, "{path}");
    }
    assert_eq!(captures("/data/2.5/weather", "/data/2.5/weather/"), None);
}
