use super::LANGUAGES;
use super::endpoint::{Endpoint, WEATHER};
use super::*;

fn subject(parameters: &str) -> String {
    Query::parse("London", parameters).unwrap().subject()
}

#[test]
fn metric_is_the_default_and_case_does_not_matter() {
    assert_eq!(subject(""), subject("units=metric"));
    assert_eq!(subject("units=IMPERIAL&lang=DE"), subject("lang=de&units=imperial"));
    assert_ne!(subject("units=standard"), subject("units=metric"));
    assert_ne!(subject("lang=de"), subject(""));
}

#[test]
fn browser_locales_find_their_language_and_an_unknown_one_means_the_default() {
    assert_eq!(subject("lang=pt-BR"), subject("lang=pt_br"));
    assert_eq!(subject("lang=de-AT"), subject("lang=de"));
    assert_eq!(subject("lang=xx"), subject(""));
}

#[test]
fn bad_parameters_are_refused_with_their_reason() {
    use ParameterError as E;
    for (parameters, expected) in [
        ("units=kelvin", E::Units),
        ("units=", E::Units),
        ("lang=%3Cscript%3E", E::Lang),
        ("lang=<script>", E::Lang),
        ("lang=", E::Lang),
        ("lang=d", E::Lang),
        ("units=metric&units=metric", E::Repeated("units")),
        ("lang=de&units=metric&lang=fr", E::Repeated("lang")),
        ("lang=xx&lang=de", E::Repeated("lang")),
        ("format=xml", E::Format),
        ("format=", E::Format),
        ("format=text&format=text", E::Repeated("format")),
        ("APPID=x", E::AppId),
        ("unit=metric", E::Unknown(WEATHER)),
    ] {
        assert_eq!(Query::parse("London", parameters), Err(expected), "{parameters}");
    }
    assert_eq!(Query::parse("", ""), Err(E::Location(LocationError::Empty)));
}

#[test]
fn what_is_passed_on_unread_is_bounded_in_all_so_that_remembering_questions_is() {
    let pages = Endpoint::named("onecall4 current");
    let asked: String = (0..40).map(|number| format!("&p{number:02}={}", "%C3%BC".repeat(250))).collect();
    let query = Query::openweathermap(pages, &format!("lat=1&lon=1{asked}")).unwrap();
    assert!(query.parameters().len() < 3_000, "{}", query.parameters().len());
    let cursor = format!("lat=1&lon=1&cursor={}", "x".repeat(512));
    assert_eq!(Query::openweathermap(pages, &cursor).unwrap().value("cursor").map(|cursor| cursor.len()), Some(512));
    assert_eq!(Query::link(pages, &format!("lat=1&lon=1{asked}")), None);
}

#[test]
fn the_short_way_of_plain_names_leads_to_the_same_question() {
    for name in ["London", "london,GB", "Portland,OR,US", "a", "X,y,Z"] {
        let long = Query::parse(name, "units=metric").unwrap();
        assert_eq!(Query::parse(name, ""), Ok(long.clone()), "{name}");
        assert_eq!(long, Query::weather(&name.parse().unwrap(), Units::Metric, None));
    }
}

#[test]
fn every_question_about_a_place_but_the_weather_of_now_says_which_it_is() {
    let ask = |path: &str, parameters: &str| Query::at(Endpoint::at(path).unwrap(), path, parameters).unwrap();
    for (location, parameters) in [
        ("São Paulo,BR", "q=S%C3%A3o Paulo, br"),
        ("-0.13,51.5", "lat=-0.1278&lon=51.5"),
        ("id:7", "id=7"),
        ("zip:1,GB", "zip=1,gb"),
    ] {
        let place = location.parse::<Location>().unwrap().parameters();
        let asked = ask("/data/2.5/forecast", &format!("{parameters}&cnt=3&lang=de&units=metric"));
        assert_eq!(asked.place(), Some(place));
        assert_eq!(ask("/data/2.5/weather", parameters).place(), None);
    }
    assert_eq!(ask("/data/2.5/group", "id=1,2").place(), None);
    assert_eq!(ask("/geo/1.0/direct", "q=London&limit=3").place().as_deref(), Some("q=london"));
}

#[test]
fn a_purge_knows_every_variant_of_a_place() {
    let location: Location = "London".parse().unwrap();
    let all: Vec<_> = Query::all_about(&location).map(|query| query.subject()).collect();
    assert_eq!(all.len(), 3 * (1 + LANGUAGES.len()));
    assert!(all.contains(&subject("")) && all.contains(&subject("units=imperial&lang=zh-TW")));
}
