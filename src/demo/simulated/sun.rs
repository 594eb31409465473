//! Where the sun stands: sunrise, sunset and how strongly it burns.

use std::f64::consts::TAU;

use super::places::Place;
use super::weather::DAY;

/// Days since the start of an average year. Being off by a day at times does not matter to a
/// made-up climate.
pub(super) fn day_of_year(unix: i64) -> f64 {
    (unix as f64 / DAY as f64) % 365.2425
}

/// The first second of the place's calendar day.
pub(super) fn midnight(place: &Place, unix: i64) -> i64 {
    let ahead = i64::from(place.timezone);
    (unix + ahead).div_euclid(DAY) * DAY - ahead
}

/// Sunrise and sunset of the place's calendar day, to within a few minutes.
pub(super) fn rise_and_set(place: &Place, unix: i64) -> (i64, i64) {
    let (noon, tilt) = noon_and_tilt(place, unix);
    // The sun counts as risen when its upper edge shows, which refraction lifts: 0.833 degrees
    // below the horizon.
    let lat = latitude(place);
    let cosine = ((-0.833_f64).to_radians().sin() - lat.sin() * tilt.sin()) / (lat.cos() * tilt.cos());
    // In polar day and night there is no crossing; a day just short of 24 hours, or a minute long,
    // keeps the order.
    let half = (cosine.clamp(-1.0, 1.0).acos() / TAU * DAY as f64).clamp(60.0, 43_140.0) as i64;
    (noon - half, noon + half)
}

/// The UV index under a sky covered from 0 to 1: Madronich's formula for a clear sky and 300 Dobson
/// units of ozone, less what clouds keep off (Kasten and Czeplak).
pub(super) fn uv_index(place: &Place, unix: i64, cover: f64) -> f64 {
    12.5 * height(place, unix).max(0.0).powf(2.42) * (1.0 - 0.75 * cover.powf(3.4))
}

/// The sine of the sun's height above the horizon.
pub(super) fn height(place: &Place, unix: i64) -> f64 {
    let (noon, tilt) = noon_and_tilt(place, unix);
    let lat = latitude(place);
    let turned = (unix - noon) as f64 / DAY as f64 * TAU;
    lat.sin() * tilt.sin() + lat.cos() * tilt.cos() * turned.cos()
}

/// Near the poles the formulas stop working.
fn latitude(place: &Place) -> f64 {
    (f64::from(place.lat) / 10_000.0).clamp(-89.9, 89.9).to_radians()
}

/// When the sun is highest on the place's calendar day, and how far north of the equator it stands
/// then, in radians.
fn noon_and_tilt(place: &Place, unix: i64) -> (i64, f64) {
    // The day is counted on the clock of the place, and the sun by its longitude from Greenwich.
    let midnight = midnight(place, unix) + i64::from(place.timezone);
    let day = day_of_year(midnight + DAY / 2);
    let tilt = (-23.44 * (TAU * (day + 10.0) / 365.2425).cos()).to_radians();
    // The equation of time: how many minutes a sundial is ahead of a clock.
    let turn = TAU * (day - 81.0) / 365.2425;
    let ahead = 9.87 * (2.0 * turn).sin() - 7.53 * turn.cos() - 1.5 * turn.sin();
    let lon = f64::from(place.lon) / 10_000.0;
    (midnight + DAY / 2 - (lon * 240.0 + ahead * 60.0).round() as i64, tilt)
}

#[cfg(test)]
mod tests {
    use super::super::places::Location;
    use super::*;

    #[test]
    fn the_uv_index_is_that_of_a_clear_day_or_less() {
        let place = Location { q: Some("Rome".to_owned()), ..Location::default() }.resolve().unwrap();
        // The 21st of June 2024: the sun is 72 degrees high at its noon, and the index of a clear day near 11.
        let (rise, set) = rise_and_set(&place, 1_718_971_200);
        let noon = i64::midpoint(rise, set);
        let clear = uv_index(&place, noon, 0.0);
        assert!((10.0..12.0).contains(&clear), "{clear}");
        assert!((0.2..0.3).contains(&(uv_index(&place, noon, 1.0) / clear)));
        assert!(uv_index(&place, noon - 3 * 3_600, 0.0) < clear);
        assert!(uv_index(&place, noon - DAY / 2, 0.0).abs() < f64::EPSILON);
    }
}
