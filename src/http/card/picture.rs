//! The pictures: five rows, of plain ASCII, so that they look the same in every terminal.

/// The widest row.
pub(super) const COLUMNS: usize = 13;

/// A picture, row by row.
pub(super) type Picture = [&'static str; 5];

const SUN: Picture = [r"    \   /", r"     .-.", r"  - (   ) -", r"     `-'", r"    /   \"];
const MOON: Picture = [r"      _.._", r"    .' .-'", r"   /  /", r"   \  \", r"    '._'-._"];
const FEW_CLOUDS: Picture = [r"   \  /", r" _ /''.-.", r"   \_(   ).", r"   /(___(__)", ""];
const FEW_CLOUDS_AT_NIGHT: Picture = [r"   .-'", r"  ( (.--.", r"   '(    ).", r"   (___(__)", ""];
const CLOUDS: Picture = ["", r"     .--.", r"  .-(    ).", r" (___.__)__)", ""];
const DRIZZLE: Picture = [r"     .-.", r"    (   ).", r"   (___(__)", r"    '  '  '", r"   '  '  '"];
const RAIN: Picture = [r"     .-.", r"    (   ).", r"   (___(__)", r"   / / / /", r"  / / / /"];
const SNOW: Picture = [r"     .-.", r"    (   ).", r"   (___(__)", r"    *  *  *", r"   *  *  *"];
const SLEET: Picture = [r"     .-.", r"    (   ).", r"   (___(__)", r"    / * / *", r"   * / * /"];
const THUNDERSTORM: Picture = [r"     .-.", r"    (   ).", r"   (___(__)", r"    /_ / /_", r"     / / /"];
const MIST: Picture = ["", r" _ - _ - _ -", r"  _ - _ - _", r" _ - _ - _ -", ""];
const STORM: Picture = [r"   ______", r"    \____/", r"     \__/", r"      \/", r"     ."];

/// That of a condition, by OpenWeatherMap's number for it (openweathermap.org/weather-conditions).
pub(super) fn of(condition: u64, night: bool) -> Option<Picture> {
    let picture = match condition {
        200..=299 => THUNDERSTORM,
        300..=399 => DRIZZLE,
        511 | 611..=616 => SLEET,
        500..=599 => RAIN,
        600..=699 => SNOW,
        // A tornado.
        781 => STORM,
        700..=799 => MIST,
        800 if night => MOON,
        800 => SUN,
        801 | 802 if night => FEW_CLOUDS_AT_NIGHT,
        801 | 802 => FEW_CLOUDS,
        803..=899 => CLOUDS,
        _ => return None,
    };
    Some(picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_that_there_is_has_a_picture_that_fits() {
        for condition in (0..2_000).chain([u64::MAX]) {
            for night in [false, true] {
                let picture = of(condition, night);
                assert_eq!(picture.is_some(), (200..400).contains(&condition) || (500..900).contains(&condition));
                for row in picture.unwrap_or_default() {
                    assert!(row.len() <= COLUMNS && row.is_ascii() && row == row.trim_end(), "{condition}: {row:?}");
                }
            }
        }
    }

    #[test]
    fn the_sky_of_the_night_differs_where_it_can_be_seen() {
        assert_ne!(of(800, true), of(800, false));
        assert_ne!(of(801, true), of(801, false));
        assert_eq!(of(804, true), of(804, false));
    }
}
