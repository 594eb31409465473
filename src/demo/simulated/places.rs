//! From the location parameters of a request to a place.
//!
//! Known cities keep their true data. Any other name, city id or postcode becomes an invented place
//! whose position and country are derived from a hash of the request, so that the same question
//! always gets the same place, on every machine. The places are part of the simulation: an invented
//! one says nothing about where a town of that name really lies.

use super::cities::{ALIASES, CITIES, City, Climate, STATES};
use super::text::{capitalised, fold, hash, tidy, two_letters};

/// Names that are never found, so that the "city not found" answer can be tried out.
const MYTHS: &[&str] = &["atlantis", "el dorado", "shangri-la"];

/// How far (in ten-thousandths of a degree, both ways) coordinates may lie from a known city to be
/// named after it.
const NEARBY: i64 = 2_000;

/// Longer names are refused: nothing sensible is that long and the name is echoed in the body.
const LONGEST_NAME: usize = 100;

/// Where an observation is made.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    /// Name in the body; empty away from any known city.
    pub(super) name: String,
    /// ISO 3166 code; none away from any known city, as at sea in the real service.
    pub(super) country: Option<String>,
    /// City id in the body; 0 where the place has none.
    pub(super) id: u64,
    /// Latitude in ten-thousandths of a degree.
    pub(super) lat: i32,
    /// Longitude in ten-thousandths of a degree.
    pub(super) lon: i32,
    /// Seconds east of UTC.
    pub(super) timezone: i32,
    /// Usual temperatures and height.
    pub(super) climate: Climate,
    /// Start of this place's own sequence of weather.
    pub(super) seed: u64,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// No usable location parameter.
    Missing,
    /// `lat` is not a number from -90 to 90.
    Latitude,
    /// `lon` is not a number from -180 to 180.
    Longitude,
    /// The name, id or postcode is not known.
    Unknown,
}

/// The location parameters of one request, as they came; `None` for absent or empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Location {
    /// `city[,state][,country]`
    pub(super) q: Option<String>,
    /// City id.
    pub(super) id: Option<String>,
    /// `postcode[,country]`
    pub(super) zip: Option<String>,
    /// Latitude in degrees.
    pub(super) lat: Option<String>,
    /// Longitude in degrees.
    pub(super) lon: Option<String>,
}

impl Place {
    /// The state, by its name in English, of a known city in the United States.
    pub(super) fn state(&self) -> Option<&'static str> {
        let known = CITIES.iter().find(|city| city.id == self.id)?;
        let name = fold(known.name);
        STATES.iter().find(|(city, ..)| *city == name).map(|(.., state)| *state)
    }

    /// The name of a time zone that has the offset of this place all through the year: the one of its people would have
    /// daylight saving, and the simulation has none.
    pub(super) fn zone(&self) -> String {
        match self.timezone {
            0 => "Etc/GMT".to_owned(),
            19_800 => "Asia/Kolkata".to_owned(),
            // POSIX's sign: hours west of Greenwich count up.
            ahead => format!("Etc/GMT{:+}", -ahead / 3_600),
        }
    }
}

impl Location {
    /// Finds or invents the place. Where several kinds of location are given, the first of q, id,
    /// zip, lat+lon counts.
    pub(super) fn resolve(&self) -> Result<Place, NoPlace> {
        if let Some(q) = &self.q {
            by_name(q)
        } else if let Some(id) = &self.id {
            by_id(id)
        } else if let Some(zip) = &self.zip {
            by_zip(zip)
        } else if let (Some(lat), Some(lon)) = (&self.lat, &self.lon) {
            let lat = degrees(lat, 90.0).ok_or(NoPlace::Latitude)?;
            let lon = degrees(lon, 180.0).ok_or(NoPlace::Longitude)?;
            Ok(by_position(lat, lon))
        } else {
            Err(NoPlace::Missing)
        }
    }
}

/// Ten-thousandths of a degree, if the text is a number within the limit. The range test also
/// refuses NaN and infinity, which parse.
fn degrees(text: &str, limit: f64) -> Option<i32> {
    let value: f64 = text.trim().parse().ok()?;
    (-limit..=limit).contains(&value).then(|| (value * 10_000.0).round() as i32)
}

fn by_name(q: &str) -> Result<Place, NoPlace> {
    let parts: Vec<String> = q.split(',').map(tidy).collect();
    let shown = parts.first().map_or("", String::as_str);
    let city = fold(shown);
    if !city.chars().any(char::is_alphabetic) || city.chars().count() > LONGEST_NAME || MYTHS.contains(&city.as_str()) {
        return Err(NoPlace::Unknown);
    }
    // Only a two-letter code binds the place to a country: full country names are understood by the
    // real service, but here they would need a gazetteer.
    let region = parts.get(1..).and_then(<[String]>::last).and_then(|part| two_letters(part));
    if let Some(known) = known_city(&city, region.as_deref()) {
        return Ok(at_city(known));
    }
    let key: Vec<String> = parts.iter().map(|part| fold(part)).collect();
    let seed = hash(&format!("q:{}", key.join(",")));
    // Far above the ids in use, so that an invented place is not mistaken for a real one.
    let id = 90_000_000 + seed % 1_000_000;
    Ok(invented(seed, capitalised(shown), id, region))
}

fn known_city(city: &str, region: Option<&str>) -> Option<&'static City> {
    let city = ALIASES.iter().find(|(other, _)| *other == city).map_or(city, |(_, name)| name);
    CITIES.iter().find(|known| {
        fold(known.name) == city
            && region
                .is_none_or(|r| known.country == r || STATES.iter().any(|(name, code, _)| (*name, *code) == (city, r)))
    })
}

fn by_id(text: &str) -> Result<Place, NoPlace> {
    let id: u64 = text.trim().parse().map_err(|_| NoPlace::Unknown)?;
    // The upper limit keeps the number one that any client can hold.
    if id == 0 || id > i32::MAX as u64 {
        return Err(NoPlace::Unknown);
    }
    match CITIES.iter().find(|known| known.id == id) {
        Some(known) => Ok(at_city(known)),
        None => Ok(invented(hash(&format!("id:{id}")), format!("Place {id}"), id, None)),
    }
}

fn by_zip(text: &str) -> Result<Place, NoPlace> {
    let (code, country) = text.split_once(',').unwrap_or((text, "us"));
    let country = two_letters(&tidy(country)).ok_or(NoPlace::Unknown)?;
    let code = tidy(code).to_uppercase();
    if !code.chars().any(char::is_alphanumeric) || code.chars().count() > LONGEST_NAME {
        return Err(NoPlace::Unknown);
    }
    // Bodies for a postcode carry id 0 in the real service too.
    let seed = hash(&format!("zip:{code},{country}"));
    Ok(invented(seed, format!("Postcode {code}"), 0, Some(country)))
}

fn by_position(lat: i32, lon: i32) -> Place {
    let nearest = CITIES.iter().min_by_key(|city| apart(city, lat, lon));
    if let Some(city) = nearest.filter(|city| apart(city, lat, lon) <= NEARBY * NEARBY) {
        return Place { lat, lon, ..at_city(city) };
    }
    // Weather does not change from one street to the next: points in the same tenth of a degree
    // have it in common.
    let seed = hash(&format!("at:{},{}", lat.div_euclid(1_000), lon.div_euclid(1_000)));
    anywhere(seed, lat, lon)
}

/// Where those live who named their towns after others.
const NAMESAKES_IN: [&str; 4] = ["US", "CA", "AU", "GB"];

/// All places of a name, the best known first; none if it is not known.
pub(super) fn named(q: &str) -> Vec<Place> {
    let Ok(first) = by_name(q) else { return Vec::new() };
    let others = NAMESAKES_IN.iter().filter(|country| first.country.as_deref() != Some(country));
    let others = others.filter_map(|country| by_name(&format!("{q},{country}")).ok());
    let wanted = if q.contains(',') { 0 } else { NAMESAKES_IN.len() };
    let others: Vec<Place> = others.take(wanted).collect();
    [first].into_iter().chain(others).collect()
}

/// The known cities whose names begin like this, the best known first.
pub(super) fn beginning_with(start: &str) -> Vec<Place> {
    let start = fold(start);
    CITIES.iter().filter(|city| fold(city.name).starts_with(&start)).map(at_city).collect()
}

/// All known cities, the nearest to a place first.
pub(super) fn nearest_to(place: &Place) -> Vec<Place> {
    let mut cities: Vec<&City> = CITIES.iter().collect();
    cities.sort_by_key(|city| apart(city, place.lat, place.lon));
    cities.into_iter().map(at_city).collect()
}

/// The known cities within the edges, in degrees.
pub(super) fn within(west: f64, south: f64, east: f64, north: f64) -> Vec<Place> {
    let inside = |city: &&City| {
        let (lat, lon) = (f64::from(city.lat) / 10_000.0, f64::from(city.lon) / 10_000.0);
        (south..=north).contains(&lat) && (west..=east).contains(&lon)
    };
    CITIES.iter().filter(inside).map(at_city).collect()
}

/// The square of the distance in ten-thousandths of a degree: enough to compare.
fn apart(city: &City, lat: i32, lon: i32) -> i64 {
    let north = i64::from(city.lat) - i64::from(lat);
    let east = i64::from(city.lon) - i64::from(lon);
    north * north + east * east
}

/// A known city as it stands in the table.
fn at_city(city: &City) -> Place {
    Place {
        name: city.name.to_owned(),
        country: Some(city.country.to_owned()),
        id: city.id,
        lat: city.lat,
        lon: city.lon,
        timezone: city.timezone,
        climate: city.climate,
        seed: hash(&format!("city:{}", city.id)),
    }
}

/// An unnamed spot: time zone by longitude, temperatures by latitude.
fn anywhere(seed: u64, lat: i32, lon: i32) -> Place {
    let degrees = f64::from(lat) / 10_000.0;
    let mean = 27.0 - 0.0063 * degrees * degrees;
    // Positive in the north, where July is the warm month, and negative in the south.
    let swing = degrees.signum() + 0.16 * degrees;
    Place {
        name: String::new(),
        country: None,
        id: 0,
        lat,
        lon,
        timezone: (f64::from(lon) / 150_000.0).round() as i32 * 3_600,
        climate: Climate { january: mean - swing, july: mean + swing, elevation: 0.0 },
        seed,
    }
}

/// A place that exists only here, set near a known city of its country so that position, clock and
/// climate agree.
fn invented(seed: u64, name: String, id: u64, country: Option<String>) -> Place {
    let homes: Vec<&City> = CITIES.iter().filter(|city| country.as_deref().is_none_or(|c| c == city.country)).collect();
    let spread = |bits: u64, width: i32| (bits % (2 * width as u64 + 1)) as i32 - width;
    let (across, along) = (seed >> 8, seed >> 34);
    let Some(home) = homes.get((seed % homes.len().max(1) as u64) as usize) else {
        // A country without a city in the table: anywhere between Patagonia and Lapland.
        let spot = anywhere(seed, 50_000 + spread(across, 600_000), spread(along, 1_799_999));
        return Place { name, country, id, ..spot };
    };
    Place {
        name,
        country: country.or_else(|| Some(home.country.to_owned())),
        id,
        lat: home.lat + spread(across, 15_000),
        lon: home.lon + spread(along, 15_000),
        seed,
        ..at_city(home)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn q(text: &str) -> Result<Place, NoPlace> {
        Location { q: Some(text.to_owned()), ..Location::default() }.resolve()
    }

    fn at(lat: &str, lon: &str) -> Result<Place, NoPlace> {
        let (lat, lon) = (Some(lat.to_owned()), Some(lon.to_owned()));
        Location { lat, lon, ..Location::default() }.resolve()
    }

    #[test]
    fn known_cities_are_found_however_they_are_spelled() {
        for text in ["London", "london,gb", " LONDON , GB", "London,United Kingdom"] {
            assert_eq!(q(text).unwrap().id, 2_643_743, "{text}");
        }
        for text in ["new  york", "New York,NY", "New York,NY,US", "nyc"] {
            assert_eq!(q(text).unwrap().id, 5_128_581, "{text}");
        }
        assert_eq!(q("sao paulo").unwrap(), q("São Paulo,BR").unwrap());
        assert_eq!(q("München").unwrap().name, "Munich");
        assert_eq!(q("東京").unwrap().id, 1_850_144);
        let all_aliases_lead_somewhere = ALIASES.iter().all(|(other, _)| q(other).unwrap().id < 90_000_000);
        assert!(all_aliases_lead_somewhere);
    }

    #[test]
    fn other_names_are_invented_but_stable() {
        let place = q("san SEBASTIÁN del-mar").unwrap();
        assert_eq!(place.name, "San Sebastián Del-Mar");
        assert_eq!(place, q(" San  Sebastián Del-Mar ").unwrap());
        assert!(place.country.is_some());
        let canadian = q("London,CA").unwrap();
        assert_eq!(canadian.country.as_deref(), Some("CA"));
        assert_ne!(canadian.id, 2_643_743);
        assert_eq!(q("Ulan Bator,mn").unwrap().country.as_deref(), Some("MN"));
        assert_ne!(q("Springfield,IL,US").unwrap().lat, q("Springfield,MA,US").unwrap().lat);
    }

    #[test]
    fn ids_and_postcodes() {
        let id = |text: &str| Location { id: Some(text.into()), ..Location::default() }.resolve();
        assert_eq!(id("2643743").unwrap(), q("London").unwrap());
        assert_eq!(id("4711").unwrap().id, 4_711);
        for bad in ["0", "-5", "abc", "99999999999"] {
            assert_eq!(id(bad), Err(NoPlace::Unknown), "{bad}");
        }
        let zip = |text: &str| Location { zip: Some(text.into()), ..Location::default() }.resolve();
        assert_eq!(zip("10018").unwrap(), zip("10018, US").unwrap());
        assert_eq!(zip("e14,gb").unwrap().country.as_deref(), Some("GB"));
        assert_eq!(zip("10018,USA"), Err(NoPlace::Unknown));
    }

    #[test]
    fn positions_are_echoed_and_named() {
        let near = at("51.50741", "-0.12776").unwrap();
        assert_eq!((near.lat, near.lon, near.name.as_str()), (515_074, -1_278, "London"));
        assert_eq!(near.seed, q("London").unwrap().seed);
        let sea = at("30", "-40").unwrap();
        assert_eq!((sea.name.as_str(), sea.country, sea.id), ("", None, 0));
        assert_eq!(sea.timezone, -10_800);
        assert_eq!(at("-90", "180").unwrap().lat, -900_000);
    }

    #[test]
    fn a_name_has_namesakes_which_are_found_under_their_country() {
        let found = named("london");
        assert_eq!(found[0], q("London").unwrap());
        let countries: Vec<_> = found.iter().map(|place| place.country.as_deref().unwrap()).collect();
        assert_eq!(countries, ["GB", "US", "CA", "AU"]);
        assert_eq!(found[2], q("London,CA").unwrap());
        assert_eq!(named("London,GB").len(), 1);
        assert!(named("Atlantis").is_empty());
        assert_eq!(q("Seattle").unwrap().state(), Some("Washington"));
        assert_eq!(found[1].state(), None);
    }

    #[test]
    fn cities_are_found_by_where_they_lie() {
        let names = |places: Vec<Place>| places.into_iter().map(|place| place.name).collect::<Vec<_>>();
        assert_eq!(names(beginning_with("LO")), ["London", "Los Angeles"]);
        assert_eq!(names(nearest_to(&at("48.5", "2.0").unwrap()))[..2], ["Paris", "Brussels"]);
        assert_eq!(names(within(12.0, 41.0, 17.0, 49.0)), ["Vienna", "Rome"]);
        assert!(within(-5.0, -5.0, -5.0, -5.0).is_empty());
    }

    #[test]
    fn the_time_zone_has_the_offset_of_the_place() {
        for (name, zone) in
            [("London", "Etc/GMT"), ("Tokyo", "Etc/GMT-9"), ("New York", "Etc/GMT+5"), ("Delhi", "Asia/Kolkata")]
        {
            assert_eq!(q(name).unwrap().zone(), zone);
        }
        let whole_hours = CITIES.iter().all(|city| city.timezone % 3_600 == 0 || city.timezone == 19_800);
        assert!(whole_hours);
    }

    #[test]
    fn nothing_to_find() {
        for text in ["Atlantis", "ATLANTIS,GR", " atlantis , xx", "El Dorado", "???", ",US"] {
            assert_eq!(q(text), Err(NoPlace::Unknown), "{text}");
        }
        assert_eq!(q(&"x".repeat(101)), Err(NoPlace::Unknown));
        for bad in ["90.01", "-91", "fake", "NaN", "inf"] {
            assert_eq!(at(bad, "0"), Err(NoPlace::Latitude), "{bad}");
        }
        assert_eq!(at("0", "180.5"), Err(NoPlace::Longitude));
        assert_eq!(at("fake", "coordinates"), Err(NoPlace::Latitude));
        let half = Location { lat: Some("1".into()), ..Location::default() };
        assert_eq!(half.resolve(), Err(NoPlace::Missing));
    }
}
