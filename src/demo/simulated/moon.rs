//! The moon: its age to within an hour or two, and roughly when it rises and sets.

use super::places::Place;
use super::sun;
use super::weather::DAY;

/// A new moon: the 6th of January 2000, 18:14 UTC.
const NEW_MOON: i64 = 947_182_440;
/// Seconds from one new moon to the next, on average.
const MONTH: f64 = 29.530_588_853 * DAY as f64;

/// How the moon is on one calendar day of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moon {
    /// Hundredths: 0 and 100 are the new moon, 50 the full one.
    pub(super) phase: i64,
    /// Unix seconds, a full minute of that day.
    pub(super) rise: i64,
    /// Unix seconds, a full minute of that day.
    pub(super) set: i64,
}

/// The moon of the calendar day that begins at `midnight` (unix seconds).
pub(super) fn of_day(place: &Place, midnight: i64) -> Moon {
    let noon = midnight + DAY / 2;
    let age = ((noon - NEW_MOON) as f64 / MONTH).rem_euclid(1.0);
    let (sunrise, sunset) = sun::rise_and_set(place, noon);
    // It follows the sun, and is a day behind when the month is over.
    let behind = (age * DAY as f64) as i64;
    let within = |time: i64| midnight + (time + behind - midnight).rem_euclid(DAY) / 60 * 60;
    Moon { phase: (age * 100.0).round() as i64, rise: within(sunrise), set: within(sunset) }
}

#[cfg(test)]
mod tests {
    use super::super::places::Location;
    use super::*;

    #[test]
    fn the_moon_is_as_old_as_it_was_recorded() {
        let place = Location { q: Some("Lisbon".to_owned()), ..Location::default() }.resolve().unwrap();
        // Noons of days that the real service described.
        for (noon, phase) in [(1_704_049_200, 65), (1_688_385_600, 50), (1_770_397_200, 66), (1_655_146_800, 47)] {
            let midnight = sun::midnight(&place, noon);
            let moon = of_day(&place, midnight);
            assert!((moon.phase - phase).abs() <= 3, "{moon:?} for {phase}");
            for time in [moon.rise, moon.set] {
                assert!((midnight..midnight + DAY).contains(&time) && time % 60 == 0, "{moon:?}");
            }
        }
    }
}
