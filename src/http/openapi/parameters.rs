//! The parameters of questions, by the table of endpoints: on our own paths as strict as they are read, on OpenWeatherMap's
//! as lenient.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat};
use utoipa::openapi::{ComponentsBuilder, Ref, RefOr, Required, Schema};

use super::schema::{integer, number, string};
use super::texts;
use crate::weather::{
    self, Endpoint, Kind, LANGUAGES, MAX_LOCATION_CHARS, MAX_TAG_CHARS, MAX_WORD, Place, Shape, Units,
};

/// One of each form.
const LOCATIONS: [(&str, &str); 6] = [
    ("name", "London"),
    ("country", "London,GB"),
    ("state", "Portland,OR,US"),
    ("coordinates", "51.51,-0.13"),
    ("id", "id:2643743"),
    ("zip", "zip:94040,US"),
];

/// Of one of our own paths.
pub(super) fn own(endpoint: &Endpoint) -> Vec<Parameter> {
    // Of several examples, which the builder has no room for, readers let people choose.
    let named: BTreeMap<_, _> = LOCATIONS.into_iter().map(|(name, place)| (name, json!({ "value": place }))).collect();
    let examples = Extensions::from_iter([("examples", json!(named))]);
    // No expression says what occurs in place names.
    let form = SchemaFormat::Custom("location".to_owned());
    let schema = string().format(Some(form)).min_length(Some(1)).max_length(Some(MAX_LOCATION_CHARS));
    let location = parameter("location", ParameterIn::Path, Required::True, texts::LOCATION, schema)
        .extensions(Some(examples))
        .build();
    let others = endpoint.parameters.iter().map(|parameter| strict(parameter).build());
    let format = (endpoint == weather::WEATHER).then(format);
    [location].into_iter().chain(others).chain(format).collect()
}

/// Of one of OpenWeatherMap's paths.
pub(super) fn openweathermap(endpoint: &Endpoint) -> Vec<Parameter> {
    let others = endpoint.parameters.iter().map(|parameter| lenient(parameter, endpoint).build());
    place(endpoint.place).into_iter().chain(others).collect()
}

/// What can be said in headers, on every path: as these are called.
pub(super) const IF_NONE_MATCH: &str = "If-None-Match";
pub(super) const X_REQUEST_ID: &str = "X-Request-Id";

pub(super) fn add(components: ComponentsBuilder) -> ComponentsBuilder {
    [(IF_NONE_MATCH, texts::IF_NONE_MATCH), (X_REQUEST_ID, texts::X_REQUEST_ID)].into_iter().fold(
        components,
        |components, (name, text)| {
            let header = parameter(name, ParameterIn::Header, Required::False, text, string());
            components.parameter(name, header.build())
        },
    )
}

pub(super) fn reference(name: &str) -> Ref {
    Ref::new(format!("#/components/parameters/{name}"))
}

fn parameter(
    name: &str,
    place: ParameterIn,
    required: Required,
    description: &str,
    schema: impl Into<RefOr<Schema>>,
) -> ParameterBuilder {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(Some(description))
        .schema(Some(schema))
}

fn query(name: &str, required: Required, description: &str, schema: impl Into<RefOr<Schema>>) -> ParameterBuilder {
    parameter(name, ParameterIn::Query, required, description, schema)
}

fn format() -> Parameter {
    let text = "`text` gives a card in plain text, for people at a terminal, as does `Accept: text/plain`.";
    let schema = string().enum_values(Some(["json", "text"])).default(Some("json".into()));
    query("format", Required::False, text, schema).build()
}

/// A parameter of our own paths.
fn strict(parameter: &weather::Parameter) -> ParameterBuilder {
    let (text, schema, example): (_, _, Value) = match parameter.kind {
        Kind::Units => {
            let names = Units::ALL.map(Units::as_str);
            let schema = string().enum_values(Some(names)).default(Some(Units::default().as_str().into()));
            (of_units("metric is what you get without it."), schema, Units::default().as_str().into())
        }
        Kind::Lang => {
            let tag = "^([A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8})*|[IiXx]([-_][A-Za-z0-9]{1,8})+)$";
            (of_languages(), string().pattern(Some(tag)).max_length(Some(MAX_TAG_CHARS)), "en".into())
        }
        kind => {
            let most = if let Kind::Whole { most: Some(most) } = kind { most } else { u32::MAX };
            let text = format!("How many, from 1 to {most}; without it, all.");
            (text, integer().minimum(Some(1)).maximum(Some(f64::from(most))), 8.into())
        }
    };
    query(parameter.name, Required::False, &text, schema).example(Some(example))
}

/// A parameter of OpenWeatherMap's paths.
fn lenient(parameter: &weather::Parameter, endpoint: &Endpoint) -> ParameterBuilder {
    let (text, schema, example) = said(parameter);
    let (place, required) = match (endpoint.shape, parameter.required) {
        (Shape::Png, _) => (ParameterIn::Path, Required::True),
        (_, true) => (ParameterIn::Query, Required::True),
        (_, false) => (ParameterIn::Query, Required::False),
    };
    self::parameter(parameter.name, place, required, &text, schema).example(example)
}

/// What it says, in which form, and an example where one helps.
fn said(parameter: &weather::Parameter) -> (String, ObjectBuilder, Option<Value>) {
    // What is not required may be empty: it is as good as not there.
    let of_words = |pattern: &str| {
        string().pattern(Some(if parameter.required { format!("^{pattern}$") } else { format!("^({pattern})?$") }))
    };
    match parameter.kind {
        Kind::Units => (of_units("Anything else, or nothing, is standard."), string(), Some("metric".into())),
        Kind::Lang => (of_languages(), string(), Some("en".into())),
        Kind::Whole { most: Some(most) } => {
            (format!("How many, up to {most}; more is taken for {most}."), whole(), None)
        }
        Kind::Whole { most: None } => match parameter.name {
            "cnt" => ("How many.".to_owned(), whole(), None),
            "z" | "x" => {
                ("Of the tile: its zoom, column and row.".to_owned(), whole().minimum(Some(0)), Some(1.into()))
            }
            _ => ("A moment, in Unix seconds (UTC).".to_owned(), whole(), Some(1_726_660_758.into())),
        },
        Kind::Word => {
            let schema = of_words("[0-9A-Za-z]+").max_length(Some(MAX_WORD));
            (format!("A word, as OpenWeatherMap has it; up to {MAX_WORD} letters and digits."), schema, None)
        }
        Kind::SetOf(words) => (
            format!("What to leave out, separated by commas: some of {}. Other words say nothing.", words.join(", ")),
            string(),
            Some("minutely,alerts".into()),
        ),
        Kind::Ids { most } => {
            let pattern = format!("[1-9][0-9]{{0,17}}(,[1-9][0-9]{{0,17}}){{0,{}}}", most - 1);
            let text = format!("City ids, up to {most}, separated by commas. Each is a call of the account.");
            (text, of_words(&pattern), Some("524901,703448,2643743".into()))
        }
        Kind::Numbers { least, most } => {
            let number = r"-?[0-9]{1,9}(\.[0-9]{1,9})?";
            let pattern = format!("{number}(,{number}){{{},{}}}", least - 1, most - 1);
            let text = "Longitude of the left edge, latitude of the bottom, longitude of the right edge, latitude of the \
                        top, zoom; separated by commas.";
            (text.to_owned(), of_words(&pattern), Some("12,32,15,37,10".into()))
        }
        Kind::Icon => {
            ("The file of an icon.".to_owned(), of_words(r"[0-9]{2}[dn](@[24]x)?\.png"), Some("10d@2x.png".into()))
        }
        Kind::Layer => {
            let schema = of_words("[0-9A-Za-z_]+").max_length(Some(MAX_WORD));
            ("The layer of the map.".to_owned(), schema, Some("clouds_new".into()))
        }
        Kind::File => {
            ("The row of the tile, and `.png`.".to_owned(), of_words(r"[0-9]{1,9}\.png"), Some("1.png".into()))
        }
        Kind::Date => {
            let day = of_words("[0-9]{4}-[0-9]{2}-[0-9]{2}");
            let format = parameter.required.then_some(SchemaFormat::KnownFormat(KnownFormat::Date));
            ("A day, YYYY-MM-DD.".to_owned(), day.format(format), Some("2026-03-01".into()))
        }
        Kind::Offset => {
            ("The time zone of that day.".to_owned(), of_words(r"[+-][0-9]{2}:[0-9]{2}"), Some("+01:00".into()))
        }
    }
}

fn whole() -> ObjectBuilder {
    integer().format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
}

fn of_units(default: &str) -> String {
    format!(
        "`metric`: °C, m/s; `imperial`: °F, miles an hour; `standard`: K, m/s. {default} Pressure is always in hPa, rain \
         and snow in mm."
    )
}

fn of_languages() -> String {
    format!(
        "The language of names and descriptions: {}. Tags of browsers (`de-AT`, `zh-Hant`) are understood; a language \
         that is not there is English.",
        LANGUAGES.join(", ")
    )
}

/// How OpenWeatherMap's paths are told which place is meant.
fn place(place: Place) -> Vec<Parameter> {
    use Required::{False, True};
    let name = |required| {
        let text = "The name of a place: city; city,country; city,state,country.";
        query("q", required, text, string()).example(Some("London,GB".into()))
    };
    let zip = |required| {
        let text = "A postal code with its country, such as `94040,US`; without one it is of the United States.";
        let instead = if matches!(required, False) { " Not looked at if `q` or `id` is there." } else { "" };
        query("zip", required, &format!("{text}{instead}"), string())
    };
    match place {
        Place::Any => {
            let text = "A city id of OpenWeatherMap's, such as 2643743. Not looked at if `q` is there.";
            let id = query("id", False, text, string()).build();
            let point = point(False, None, " Not looked at if `q`, `id` or `zip` is there.");
            [vec![name(False).build(), id, zip(False).build()], point].concat()
        }
        Place::NameOrPoint => {
            [vec![name(False).build()], point(False, None, " Not looked at if `q` is there.")].concat()
        }
        Place::Point | Place::ExactPoint => point(True, Some((51.5073, -0.1276)), ""),
        // Nothing, or only white space, is none.
        Place::Name => vec![name(True).schema(Some(string().pattern(Some(r"\S")))).build()],
        Place::Zip => {
            vec![zip(True).schema(Some(string().pattern(Some(r"\S")))).example(Some("E14,GB".into())).build()]
        }
        Place::Other => Vec::new(),
    }
}

fn point(required: Required, example: Option<(f64, f64)>, instead: &str) -> Vec<Parameter> {
    let degrees = |name, what: &str, most: f64, example: Option<f64>| {
        let schema = number().minimum(Some(-most)).maximum(Some(most));
        let text = format!("{what} in degrees, from -{most} to {most}.{instead}");
        query(name, required.clone(), &text, schema).example(example.map(Value::from)).build()
    };
    let (latitude, longitude) = (example.map(|point| point.0), example.map(|point| point.1));
    vec![degrees("lat", "Latitude", 90.0, latitude), degrees("lon", "Longitude", 180.0, longitude)]
}
