//! The description of the public listener: an OpenAPI 3.1 document, made from the table of endpoints, from the errors and
//! from what the operator has decided, so that it cannot say something else than the code does.

mod bodies;
mod examples;
mod headers;
mod operations;
mod parameters;
mod problems;
mod responses;
mod schema;
mod security;
mod texts;

use utoipa::openapi::path::{HttpMethod, PathItemBuilder};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ComponentsBuilder, ContactBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, PathsBuilder,
    ServerBuilder,
};

use crate::weather::{ENDPOINTS, Shape};
use operations::Operation;

/// What the operator has decided, as far as callers see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// Icons and tiles are served.
    pub(super) images: bool,
    /// Who is answered.
    pub(super) keys: Keys,
}

/// Whether callers have keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    /// Nobody has one: what looks like a key is not looked at.
    None,
    /// Some have one, and all are answered.
    Optional,
    /// Only who has one is answered.
    Required,
}

/// The tags, in the order in which they are shown.
const OWN: &str = "Weather";
const OPENWEATHERMAP: &str = "OpenWeatherMap's own paths";
const PAGES: &str = "About this service";

/// The whole document.
pub(super) fn document(terms: Terms) -> OpenApi {
    let info = InfoBuilder::new()
        .title("Stratus")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(texts::INFO))
        .contact(Some(
            ContactBuilder::new()
                .name(Some("Weather data provided by OpenWeather"))
                .url(Some("https://openweathermap.org/"))
                .build(),
        ))
        .license(Some(LicenseBuilder::new().name(env!("CARGO_PKG_LICENSE")).identifier(Some("MIT")).build()))
        .build();
    let tags = [(OWN, texts::OWN), (OPENWEATHERMAP, texts::OPENWEATHERMAP), (PAGES, texts::PAGES)]
        .map(|(name, description)| TagBuilder::new().name(name).description(Some(description)).build());
    let components = ComponentsBuilder::new();
    let components = bodies::add(components);
    let components = headers::add(components);
    let components = problems::add(components);
    let components = parameters::add(components);
    let components = responses::add(components, terms.keys);
    let components = security::add(components, terms.keys);
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([ServerBuilder::new().url("/").build()]))
        .paths(paths(terms))
        .components(Some(components.build()))
        .tags(Some(tags))
        .build()
}

fn paths(terms: Terms) -> PathsBuilder {
    let served = ENDPOINTS.iter().filter(|endpoint| terms.images || endpoint.shape != Shape::Png);
    let mut operations = Vec::new();
    for endpoint in served {
        operations.extend(endpoint.own.map(|path| (path, operations::own(endpoint, terms.keys))));
        for (number, path) in endpoint.paths.iter().enumerate() {
            operations.push((*path, operations::openweathermap(endpoint, number, terms.keys)));
        }
    }
    operations.extend(operations::pages());
    operations.into_iter().fold(PathsBuilder::new(), |paths, (path, Operation { get, head })| {
        let item = PathItemBuilder::new().operation(HttpMethod::Get, get).operation(HttpMethod::Head, head);
        paths.path(path, item.build())
    })
}
