//! Invented air: pollutants that rise and fall together over the days, and the index made of them.

use super::places::Place;
use super::sun;
use super::weather::drift;

/// Air at one time; amounts are hundredths of a microgram per cubic metre.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Air {
    /// Carbon monoxide.
    pub(super) co: i64,
    /// Nitrogen monoxide.
    pub(super) no: i64,
    /// Nitrogen dioxide.
    pub(super) no2: i64,
    /// Ozone.
    pub(super) o3: i64,
    /// Sulphur dioxide.
    pub(super) so2: i64,
    /// Particles up to 2.5 micrometres.
    pub(super) pm2_5: i64,
    /// Particles up to 10 micrometres.
    pub(super) pm10: i64,
    /// Ammonia.
    pub(super) nh3: i64,
}

/// From which amount on (micrograms per cubic metre) the index is 2, 3, 4 and 5, by the real
/// service's table.
const O3: [i64; 4] = [60, 100, 140, 180];
const NO2: [i64; 4] = [40, 70, 150, 200];
const SO2: [i64; 4] = [20, 80, 250, 350];
const PM2_5: [i64; 4] = [10, 25, 50, 75];
const PM10: [i64; 4] = [20, 50, 100, 200];
const CO: [i64; 4] = [4_400, 9_400, 12_400, 15_400];

impl Air {
    /// The air quality index, from 1 (good) to 5 (very poor): the worst pollutant decides.
    pub(super) fn index(&self) -> usize {
        let amounts =
            [(self.o3, O3), (self.no2, NO2), (self.so2, SO2), (self.pm2_5, PM2_5), (self.pm10, PM10), (self.co, CO)];
        let level = |(amount, steps): (i64, [i64; 4])| steps.iter().filter(|step| amount >= **step * 100).count();
        1 + amounts.into_iter().map(level).max().unwrap_or_default()
    }
}

/// The air at a place and time (unix seconds): a pure function of the two.
pub(super) fn observe(place: &Place, unix: i64) -> Air {
    let curve = |salt: u64, hours: f64| drift(place.seed, salt, unix, hours);
    let amount = |value: f64| (value * 100.0).round() as i64;
    // Clean air is the rule, and thick air comes when there is no wind for days.
    let haze = curve(21, 53.0).powi(3);
    let traffic = curve(22, 6.0);
    let light = sun::height(place, unix).max(0.0);
    let fine = 1.0 + 38.0 * haze + 3.0 * traffic;
    Air {
        co: amount(190.0 + 260.0 * haze + 60.0 * traffic),
        no: amount(4.0 * (traffic - 0.4).max(0.0)),
        no2: amount(1.0 + 24.0 * haze + 12.0 * traffic),
        o3: amount(22.0 + 60.0 * light * (0.6 + 0.6 * curve(23, 31.0)) + 20.0 * (1.0 - traffic)),
        so2: amount(0.4 + 9.0 * haze),
        pm2_5: amount(fine),
        pm10: amount(fine * (1.1 + 0.6 * curve(24, 17.0))),
        nh3: amount(0.3 + 4.5 * curve(25, 41.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_agrees_with_recorded_bodies() {
        // Mittelbiberach, Lisbon twice, Arizona; all of 2023.
        let cases = [
            (1, [21_029, 5, 364, 5_436, 30, 50, 69, 519]),
            (3, [19_693, 65, 398, 10_729, 146, 858, 1_350, 203]),
            (2, [19_360, 55, 407, 9_728, 128, 799, 1_304, 195]),
            (3, [42_057, 0, 424, 8_440, 954, 3_952, 4_090, 98]),
        ];
        for (index, [co, no, no2, o3, so2, pm2_5, pm10, nh3]) in cases {
            let air = Air { co, no, no2, o3, so2, pm2_5, pm10, nh3 };
            assert_eq!(air.index(), index, "{air:?}");
        }
        let worst = Air { co: 0, no: 0, no2: 0, o3: 0, so2: 0, pm2_5: 7_500, pm10: 0, nh3: 0 };
        assert_eq!((worst.index(), Air { pm2_5: 7_499, ..worst }.index()), (5, 4));
    }
}
