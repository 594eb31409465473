//! How warm the air feels.

/// How warm it feels in °C, by the formulas of the US weather service: recorded bodies of the real
/// API agree with them.
pub(super) fn feels_like(celsius: f64, humidity: f64, speed: f64) -> f64 {
    let t = celsius * 1.8 + 32.0;
    let mph = speed * 2.236936;
    let felt = if t <= 50.0 {
        if mph <= 3.0 {
            t
        } else {
            let chill = mph.powf(0.16);
            35.74 + 0.6215 * t - 35.75 * chill + 0.4275 * t * chill
        }
    } else {
        let simple = 0.5 * (t + 61.0 + (t - 68.0) * 1.2 + humidity * 0.094);
        if (simple + t) / 2.0 < 80.0 { simple } else { heat_index(t, humidity) }
    };
    (felt - 32.0) / 1.8
}

/// Rothfusz's regression for hot weather, in °F, with the usual corrections for very dry and very
/// damp air.
fn heat_index(t: f64, humidity: f64) -> f64 {
    let h = humidity;
    let index =
        -42.379 + 2.04901523 * t + 10.14333127 * h - 0.22475541 * t * h - 0.00683783 * t * t - 0.05481717 * h * h
            + 0.00122874 * t * t * h
            + 0.00085282 * t * h * h
            - 0.00000199 * t * t * h * h;
    if h < 13.0 && t < 112.0 {
        index - (13.0 - h) / 4.0 * ((17.0 - (t - 95.0).abs()).max(0.0) / 17.0).sqrt()
    } else if h > 85.0 && t < 87.0 {
        index + (h - 85.0) / 10.0 * (87.0 - t) / 5.0
    } else {
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feels_like_agrees_with_recorded_bodies() {
        // Rome 2022, Tokyo 2024, Mrągowo 2022, Labrador Sea 2023, Zocca 2022.
        for (celsius, humidity, speed, felt) in [
            (12.36, 75.0, 1.03, 11.61),
            (25.53, 62.0, 9.77, 25.76),
            (-4.0, 93.0, 2.73, -8.02),
            (3.87, 75.0, 0.72, 3.87),
            (25.33, 64.0, 0.62, 25.59),
        ] {
            let ours = feels_like(celsius, humidity, speed);
            assert!((ours - felt).abs() < 0.011, "{celsius}: {ours} for {felt}");
        }
    }
}
