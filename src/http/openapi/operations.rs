//! What can be done at a path: `GET` and `HEAD`.

use utoipa::openapi::path::{Operation as OpenApiOperation, OperationBuilder, Parameter};
use utoipa::openapi::{Deprecated, Responses};

use super::super::openweathermap::Dialect;
use super::responses::Bodies;
use super::{Keys, OPENWEATHERMAP, OWN, PAGES, parameters, responses, security};
use crate::weather::{Cost, Endpoint, Plan, Shape};

/// Both methods of a path.
pub(super) struct Operation {
    pub(super) get: OpenApiOperation,
    pub(super) head: OpenApiOperation,
}

/// What both have in common.
struct Common {
    id: String,
    tag: &'static str,
    summary: String,
    description: String,
    parameters: Vec<Parameter>,
    deprecated: bool,
}

impl Common {
    fn operation(self, keys: Option<(Keys, bool)>, responses: impl Fn(Bodies) -> Responses) -> Operation {
        let operation = |id: String, summary: String, bodies| {
            let operation = OperationBuilder::new()
                .operation_id(Some(id))
                .tag(self.tag)
                .summary(Some(summary))
                .description(Some(&*self.description))
                .parameters(Some(self.parameters.clone()))
                .parameter_ref(parameters::reference(parameters::IF_NONE_MATCH))
                .parameter_ref(parameters::reference(parameters::X_REQUEST_ID))
                .deprecated(self.deprecated.then_some(Deprecated::True))
                .responses(responses(bodies));
            match keys {
                Some((keys, openweathermap)) => {
                    operation.securities(Some(security::requirements(keys, openweathermap))).build()
                }
                None => operation.build(),
            }
        };
        Operation {
            get: operation(self.id.clone(), self.summary.clone(), Bodies::With),
            head: operation(format!("{}_head", self.id), format!("{}, headers only", self.summary), Bodies::Without),
        }
    }
}

/// One of our own paths.
pub(super) fn own(endpoint: &Endpoint, keys: Keys) -> Operation {
    let (summary, more) = match endpoint.name {
        "weather" => ("The weather of now", "As JSON, or as a card in plain text for people at a terminal."),
        "forecast" => ("The forecast of five days, every three hours", ""),
        _ => ("What is in the air now", "A place that is not given by coordinates is looked up first."),
    };
    let common = Common {
        id: endpoint.name.to_owned(),
        tag: OWN,
        summary: summary.to_owned(),
        description: format!("{more} {}", freshness(endpoint)).trim().to_owned(),
        parameters: parameters::own(endpoint),
        deprecated: false,
    };
    common.operation(Some((keys, false)), |bodies| responses::data(endpoint, Dialect::Own, keys, bodies))
}

/// One of OpenWeatherMap's: the endpoint's path of this number.
pub(super) fn openweathermap(endpoint: &Endpoint, number: usize, keys: Keys) -> Operation {
    let mut told = vec![freshness(endpoint)];
    let other = (number > 0).then(|| format!("An older path of `{}`.", endpoint.paths[0]));
    told.extend(other);
    told.extend((endpoint.cost == Cost::EachId).then(|| "Each id is a call of the account.".to_owned()));
    told.extend((endpoint.plan == Plan::Some).then(|| "Not every plan of OpenWeatherMap has it (401).".to_owned()));
    let pages = "It answers in pages, whose links lead to the host that was asked; parameters in them are passed on.";
    told.extend((endpoint.shape == Shape::Pages).then(|| pages.to_owned()));
    let common = Common {
        id: identifier(endpoint, number),
        tag: OPENWEATHERMAP,
        summary: summary(endpoint),
        description: told.join(" "),
        parameters: parameters::openweathermap(endpoint),
        deprecated: number > 0,
    };
    common.operation(Some((keys, true)), |bodies| responses::data(endpoint, Dialect::OpenWeatherMap, keys, bodies))
}

/// The pages, and this document.
pub(super) fn pages() -> [(&'static str, Operation); 3] {
    let page = |id: &str, summary: &str, media_type, what| {
        let common = Common {
            id: id.to_owned(),
            tag: PAGES,
            summary: summary.to_owned(),
            description: String::new(),
            parameters: Vec::new(),
            deprecated: false,
        };
        common.operation(None, |bodies| responses::page(media_type, what, bodies))
    };
    [
        ("/", page("home", "The page of this service", "text/html", "A page for people.")),
        ("/docs", page("docs", "This description, to read and to try out", "text/html", "A page for people.")),
        ("/openapi.json", page("openapi", "This description", "application/json", "OpenAPI 3.1, for programs.")),
    ]
}

fn freshness(endpoint: &Endpoint) -> String {
    match endpoint.fresh {
        Some(fresh) => format!("An answer is good for {} seconds.", fresh.as_secs()),
        None => "An answer is good for some minutes: its `Cache-Control` says for how long.".to_owned(),
    }
}

/// Unique among all, and the name of a function in generated clients.
fn identifier(endpoint: &Endpoint, number: usize) -> String {
    let name = endpoint.name.replace([' ', '.'], "_");
    if number == 0 { format!("openweathermap_{name}") } else { format!("openweathermap_{name}_{number}") }
}

/// For people, by the short name.
fn summary(endpoint: &Endpoint) -> String {
    let name = endpoint.name.replace("onecall4", "One Call 4.0,").replace("onecall", "One Call");
    let name = name.replace("uv", "UV index").replace("air", "air pollution");
    let mut letters = name.chars();
    letters.next().map(|first| first.to_uppercase().collect::<String>() + letters.as_str()).unwrap_or_default()
}
