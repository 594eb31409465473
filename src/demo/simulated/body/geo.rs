//! Bodies of the geocoding endpoints.

use axum::http::StatusCode;
use serde::Serialize;

use super::{Answer, SIMULATED, print};
use crate::demo::simulated::places::{self, Location, NoPlace, Place};
use crate::demo::simulated::request::Request;
use crate::demo::simulated::units::{Decimal, Degrees};
use crate::demo::simulated::{NOT_FOUND, Reply};

/// Places in one answer.
const PLACES: i64 = 5;

#[derive(Serialize)]
struct Found<'a> {
    name: &'a str,
    local_names: LocalNames<'a>,
    lat: Degrees,
    lon: Degrees,
    country: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
}

/// Names by language; the simulation knows the English ones.
#[derive(Serialize)]
struct LocalNames<'a> {
    en: &'a str,
}

/// `/geo/1.0/direct`: the places of a name; an empty list if there are none.
pub(in crate::demo::simulated) fn direct(request: &Request, _unix: i64) -> Answer {
    list(request, &places::named(request.text("q").ok_or(NoPlace::Missing)?))
}

/// `/geo/1.0/reverse`: the city at a point, if there is one.
pub(in crate::demo::simulated) fn reverse(request: &Request, _unix: i64) -> Answer {
    let nearby = request.spot()?;
    let city = (!nearby.name.is_empty()).then(|| places::nearest_to(&nearby).swap_remove(0));
    list(request, city.as_slice())
}

fn list(request: &Request, found: &[Place]) -> Answer {
    let most = usize::try_from(request.count("limit", PLACES, PLACES)).unwrap_or_default();
    let rows = found.iter().take(most).map(|place| Found {
        name: &place.name,
        local_names: LocalNames { en: &place.name },
        lat: Decimal(place.lat.into()),
        lon: Decimal(place.lon.into()),
        country: place.country.as_deref().unwrap_or_default(),
        state: place.state(),
    });
    print(&rows.collect::<Vec<_>>())
}

#[derive(Serialize)]
struct Postcode<'a> {
    zip: &'a str,
    name: &'a str,
    lat: Degrees,
    lon: Degrees,
    country: &'a str,
    base: &'static str,
}

/// `/geo/1.0/zip`: the place of a postcode.
pub(in crate::demo::simulated) fn zip(request: &Request, _unix: i64) -> Answer {
    let zip = request.text("zip").ok_or(NoPlace::Missing)?;
    let place = Location { zip: Some(zip.to_owned()), ..Location::default() }.resolve();
    // Only here the real service says it in these words.
    let place = place.map_err(|_| Reply::new(StatusCode::NOT_FOUND, NOT_FOUND))?;
    print(&Postcode {
        zip: zip.split(',').next().unwrap_or(zip).trim(),
        name: &place.name,
        lat: Decimal(place.lat.into()),
        lon: Decimal(place.lon.into()),
        country: place.country.as_deref().unwrap_or_default(),
        base: SIMULATED,
    })
}
