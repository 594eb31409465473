//! Systems of units, and numbers as the real service prints them.

use serde::{Serialize, Serializer};

/// Systems of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Units {
    /// Kelvin and metres per second.
    Standard,
    /// Celsius and metres per second.
    Metric,
    /// Fahrenheit and miles per hour.
    Imperial,
}

impl Units {
    /// Reads the `units` parameter. Clients exist that send other words to get kelvin, so those are
    /// no error.
    pub(super) fn from_parameter(text: &str) -> Self {
        match text {
            "metric" => Self::Metric,
            "imperial" => Self::Imperial,
            _ => Self::Standard,
        }
    }

    /// Its name in requests.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Metric => "metric",
            Self::Imperial => "imperial",
        }
    }

    /// Converts hundredths of a kelvin.
    pub(super) fn temperature(self, kelvin: i64) -> Hundredths {
        let celsius = kelvin - 27_315;
        Decimal(match self {
            Self::Standard => kelvin,
            Self::Metric => celsius,
            Self::Imperial => (celsius as f64 * 1.8).round() as i64 + 3_200,
        })
    }

    /// Converts hundredths of a metre per second.
    pub(super) fn speed(self, metres: i64) -> Hundredths {
        Decimal(match self {
            Self::Standard | Self::Metric => metres,
            Self::Imperial => (metres as f64 * 2.236936).round() as i64,
        })
    }
}

/// A number with a fixed count of decimals, printed without the ones it does not need: `12`,
/// `12.5`, never `12.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decimal<const SCALE: i64>(pub(super) i64);

/// Temperatures, speeds, amounts.
pub(super) type Hundredths = Decimal<100>;

/// Latitudes and longitudes.
pub(super) type Degrees = Decimal<10_000>;

impl<const SCALE: i64> Decimal<SCALE> {
    /// The double nearest to it.
    pub(super) fn value(self) -> f64 {
        // Division rounds correctly, so the shortest text that reads back as the quotient is the
        // decimal itself.
        self.0 as f64 / SCALE as f64
    }
}

impl<const SCALE: i64> Serialize for Decimal<SCALE> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 % SCALE == 0 {
            serializer.serialize_i64(self.0 / SCALE)
        } else {
            serializer.serialize_f64(self.value())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<const SCALE: i64>(number: Decimal<SCALE>) -> String {
        serde_json::to_string(&number).unwrap()
    }

    #[test]
    fn numbers_are_printed_like_the_real_ones() {
        for (hundredths, expected) in
            [(1_200, "12"), (0, "0"), (28_551, "285.51"), (-85, "-0.85"), (48, "0.48"), (250, "2.5")]
        {
            assert_eq!(text(Decimal::<100>(hundredths)), expected);
        }
        assert_eq!(text(Decimal::<10_000>(-1_257)), "-0.1257");
        let exact = (-60_000..60_000).all(|n| text(Decimal::<100>(n)).len() <= 7);
        assert!(exact);
    }

    #[test]
    fn units_convert_like_the_recorded_pairs() {
        let celsius = |kelvin| text(Units::Metric.temperature(kelvin));
        assert_eq!((celsius(28_515), celsius(28_044), celsius(29_491)), ("12".into(), "7.29".into(), "21.76".into()));
        assert_eq!(text(Units::Imperial.temperature(28_515)), "53.6");
        assert_eq!(text(Units::Imperial.temperature(28_030)), "44.87");
        assert_eq!(text(Units::Imperial.speed(300)), "6.71");
        assert_eq!(text(Units::Metric.speed(309)), "3.09");
        assert_eq!(Units::from_parameter("internal"), Units::Standard);
    }
}
