//! What answers look like. The three of our own paths are described member by member, true for what was recorded of
//! OpenWeatherMap since 2014: it leaves members out, and changes whether some are numbers or texts. Of the others there is
//! what the table of endpoints holds an answer to.

use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Type};
use utoipa::openapi::{ComponentsBuilder, RefOr, Schema};

use super::problems::THEIRS;
use super::schema::{any_of, either, integer, list, measured, moment, named, number, object, string};
use crate::weather::{Endpoint, Json, LINKS, Shape};

const WEATHER: &str = "Weather";
const FORECAST: &str = "Forecast";
const AIR: &str = "Air";

// Parts that several of them have.
const POINT: &str = "Point";
const CONDITION: &str = "Condition";
const MEASURES: &str = "Measures";
const WIND: &str = "Wind";
const CLOUDS: &str = "Clouds";
const FALLEN: &str = "Precipitation";

pub(super) fn add(components: ComponentsBuilder) -> ComponentsBuilder {
    components
        .schema(POINT, point())
        .schema(CONDITION, condition())
        .schema(MEASURES, measures())
        .schema(WIND, wind())
        .schema(CLOUDS, object([("all", measured("Share of the sky that is covered, in percent").into())], []))
        .schema(FALLEN, fallen())
        .schema(WEATHER, weather())
        .schema(FORECAST, forecast())
        .schema(AIR, air())
}

/// What an endpoint answers with on our own path; `None` for an image.
pub(super) fn of(endpoint: &Endpoint) -> Option<RefOr<Schema>> {
    match (endpoint.name, endpoint.shape) {
        (_, Shape::Png) => None,
        ("weather", _) => Some(named(WEATHER)),
        ("forecast", _) => Some(named(FORECAST)),
        ("air" | "air forecast" | "air history", _) => Some(named(AIR)),
        (_, Shape::Object(members)) => Some(members.iter().fold(object([], []), with_member).into()),
        (_, Shape::Array) => Some(list(object([], [])).into()),
        (_, Shape::Pages) => {
            let link = || {
                either([Type::String, Type::Null]).description(Some("The page beside it, on the host that was asked"))
            };
            let page = object([("data", list(object([], [])).into())], []);
            Some(LINKS.into_iter().fold(page, |page, name| page.property(name, link())).into())
        }
    }
}

/// The same on OpenWeatherMap's path, where an error may come with status 200.
pub(super) fn or_error(schema: RefOr<Schema>) -> RefOr<Schema> {
    any_of([schema, named(THEIRS)]).into()
}

fn with_member(object: ObjectBuilder, (name, json): &(&'static str, Json)) -> ObjectBuilder {
    let member: RefOr<Schema> = match json {
        Json::List => ArrayBuilder::new().items(ObjectBuilder::new()).into(),
        Json::Map => ObjectBuilder::new().into(),
        Json::Number => number().into(),
        Json::Text => string().into(),
    };
    object.property(*name, member).required(*name)
}

fn point() -> ObjectBuilder {
    let degrees = |what: &str| measured(&format!("{what}, in degrees"));
    object([("lat", degrees("Latitude").into()), ("lon", degrees("Longitude").into())], [])
}

fn condition() -> ObjectBuilder {
    let members = [
        ("id", integer().description(Some("OpenWeatherMap's number of the condition")).into()),
        ("main", string().description(Some("Its group, such as Rain")).into()),
        ("description", string().description(Some("In words, in the language that was asked for")).into()),
        ("icon", string().description(Some("OpenWeatherMap's icon; d by day, n by night")).into()),
    ];
    object(members, []).description(Some("What the sky looks like. Several may hold at once, the main one first."))
}

fn measures() -> ObjectBuilder {
    let temperature = |what: &str| measured(&format!("{what}, in the units that were asked for")).into();
    let pressure = |what: &str| measured(&format!("Pressure {what}, in hPa")).into();
    object(
        [
            ("temp", temperature("Temperature")),
            ("temp_min", temperature("Lowest temperature")),
            ("temp_max", temperature("Highest temperature")),
            ("pressure", pressure("at sea level")),
            ("humidity", measured("Relative humidity, in percent").into()),
        ],
        [
            ("feels_like", temperature("What it feels like")),
            ("sea_level", pressure("at sea level")),
            ("grnd_level", pressure("at the ground")),
            ("temp_kf", measured("OpenWeatherMap's own correction").into()),
        ],
    )
}

fn wind() -> ObjectBuilder {
    let speed = |what: &str| measured(&format!("{what}, in m/s, or in miles an hour with imperial units")).into();
    object(
        [("speed", speed("Speed"))],
        [
            ("deg", measured("From where, in degrees clockwise from north; left out in a calm").into()),
            ("gust", speed("Speed in gusts")),
        ],
    )
}

fn fallen() -> ObjectBuilder {
    let hours = |hours: &str| measured(&format!("In the last {hours}, in mm"));
    either([Type::Object, Type::Null])
        .property("1h", hours("hour"))
        .property("3h", hours("three hours"))
        .description(Some("How much rain or snow; left out, empty or null without any"))
}

fn weather() -> ObjectBuilder {
    let of_the_day = object(
        [],
        [
            ("country", string().description(Some("Of the place (ISO 3166); none at sea")).into()),
            ("sunrise", moment("Sunrise").into()),
            ("sunset", moment("Sunset").into()),
        ],
    );
    object(
        [
            ("coord", named(POINT)),
            ("weather", list(named(CONDITION)).into()),
            ("main", named(MEASURES)),
            ("wind", named(WIND)),
            ("clouds", named(CLOUDS)),
            ("dt", moment("When it was measured").into()),
            ("sys", of_the_day.into()),
            ("id", integer().description(Some("City id; 0 away from any")).into()),
            ("name", string().description(Some("Of the place; empty away from any")).into()),
            ("cod", either([Type::Integer, Type::String]).description(Some("200; in old answers as a text")).into()),
        ],
        [
            ("base", string().description(Some("Where it comes from; `simulated` if it is made up")).into()),
            ("visibility", measured("How far one sees, in metres").into()),
            ("rain", named(FALLEN)),
            ("snow", named(FALLEN)),
            ("timezone", integer().description(Some("Seconds east of UTC")).into()),
        ],
    )
    .description(Some("The weather of now, as OpenWeatherMap tells it. Members that are not known are left out."))
}

fn forecast() -> ObjectBuilder {
    let hour = object(
        [
            ("dt", moment("The time that it is for").into()),
            ("dt_txt", string().description(Some("The same as text, in UTC")).into()),
            ("main", named(MEASURES)),
            ("weather", list(named(CONDITION)).into()),
            ("clouds", named(CLOUDS)),
            ("wind", named(WIND)),
        ],
        [
            ("visibility", measured("How far one sees, in metres").into()),
            ("pop", measured("Probability of rain or snow, from 0 to 1").into()),
            ("rain", named(FALLEN)),
            ("snow", named(FALLEN)),
        ],
    );
    let city = object(
        [
            ("id", either([Type::Integer, Type::String]).description(Some("City id")).into()),
            ("name", string().into()),
            ("coord", named(POINT)),
            ("country", string().into()),
        ],
        [
            ("timezone", integer().description(Some("Seconds east of UTC")).into()),
            ("sunrise", moment("Sunrise").into()),
            ("sunset", moment("Sunset").into()),
        ],
    );
    object(
        [
            ("cod", either([Type::Integer, Type::String]).description(Some("200, as a text")).into()),
            ("cnt", integer().description(Some("How many there are in `list`")).into()),
            ("list", list(hour).into()),
            ("city", city.into()),
        ],
        [],
    )
    .description(Some("Five days, every three hours, as OpenWeatherMap tells them."))
}

fn air() -> ObjectBuilder {
    let amount = |what: &str| measured(&format!("{what}, in µg/m³")).into();
    let components = object(
        [
            ("co", amount("Carbon monoxide")),
            ("no", amount("Nitrogen monoxide")),
            ("no2", amount("Nitrogen dioxide")),
            ("o3", amount("Ozone")),
            ("so2", amount("Sulphur dioxide")),
            ("pm2_5", amount("Particles up to 2.5 µm")),
            ("pm10", amount("Particles up to 10 µm")),
            ("nh3", amount("Ammonia")),
        ],
        [],
    );
    let index = integer().description(Some("Air quality, from 1 (good) to 5 (very poor)"));
    let hour = object(
        [
            ("dt", moment("The time that it is for").into()),
            ("main", object([("aqi", index.into())], []).into()),
            ("components", components.into()),
        ],
        [],
    );
    object([("coord", named(POINT)), ("list", list(hour).into())], [])
        .description(Some("What is in the air, as OpenWeatherMap tells it."))
}
