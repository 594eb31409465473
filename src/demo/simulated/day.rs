//! The weather of a whole day at a place, made of its hours: so that it never contradicts them.

use super::places::Place;
use super::sun;
use super::weather::{DAY, Fall, HOUR, Observation, observe};

/// One calendar day of a place.
#[derive(Clone, Debug)]
pub(super) struct Day {
    /// Its first second, on the clock of the place.
    pub(super) midnight: i64,
    /// At that second.
    pub(super) night: Observation,
    /// At six in the morning.
    pub(super) morning: Observation,
    /// At noon.
    pub(super) noon: Observation,
    /// At six in the evening.
    pub(super) evening: Observation,
    /// Lowest temperature; hundredths of a kelvin.
    pub(super) min: i64,
    /// Highest temperature; hundredths of a kelvin.
    pub(super) max: i64,
    /// The hour with the strongest wind.
    pub(super) windiest: Observation,
    /// Condition code: of the wettest hour, or of noon on a dry day.
    pub(super) condition: u16,
    /// Probability of rain or snow in percent.
    pub(super) chance: i64,
    /// Hundredths of the highest UV index.
    pub(super) uvi: i64,
    /// Hundredths of a millimetre; 0 without rain.
    pub(super) rain: i64,
    /// Hundredths of a millimetre of water; 0 without snow.
    pub(super) snow: i64,
}

/// The day of the place's calendar that contains `unix`.
pub(super) fn containing(place: &Place, unix: i64) -> Day {
    let midnight = sun::midnight(place, unix);
    let at = |hour: i64| observe(place, midnight + hour * HOUR);
    let (night, morning, noon, evening) = (at(0), at(6), at(12), at(18));
    // Forecasts are for whole hours of UTC, which are not whole hours everywhere.
    let first = midnight + (-midnight).rem_euclid(HOUR);
    let hours: Vec<Observation> = (0..24).map(|hour| observe(place, first + hour * HOUR)).collect();

    let all = || hours.iter().chain([&night, &morning, &noon, &evening]);
    let fallen = |of: fn(Fall) -> i64| hours.iter().map(|hour| of(hour.fall)).sum();
    let wettest = hours.iter().max_by_key(|hour| hour.fall.amount()).filter(|hour| hour.fall != Fall::Dry);
    Day {
        midnight,
        min: all().map(|seen| seen.temp).min().unwrap_or(noon.temp),
        max: all().map(|seen| seen.temp).max().unwrap_or(noon.temp),
        windiest: all().max_by_key(|seen| seen.wind).unwrap_or(&noon).clone(),
        condition: wettest.unwrap_or(&noon).condition,
        chance: all().map(|seen| seen.chance).max().unwrap_or(noon.chance),
        uvi: all().map(|seen| seen.uvi).max().unwrap_or(noon.uvi),
        rain: fallen(Fall::rain),
        snow: fallen(Fall::snow),
        night,
        morning,
        noon,
        evening,
    }
}

/// That day and the ones after it.
pub(super) fn from(place: &Place, unix: i64, days: i64) -> impl Iterator<Item = Day> {
    (0..days).map(move |number| containing(place, unix + number * DAY))
}
