//! How warm and how damp the air feels.

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

/// The temperature in °C at which dew forms, or frost below the freezing point, by the Magnus formula.
pub(super) fn dew_point(celsius: f64, humidity: f64) -> f64 {
    let share = (humidity / 100.0).ln() + 17.62 * celsius / (243.12 + celsius);
    let dew = if share < 0.0 { 272.62 * share / (22.46 - share) } else { 243.12 * share / (17.62 - share) };
    // Damp air can be past the point of frost without any.
    dew.min(celsius)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dew_point_agrees_with_recorded_bodies() {
        // Phoenix 2023, Lisbon 2023 twice, New York 2026, Denver 2021.
        for (celsius, humidity, dew) in
            [(16.05, 48.0, 5.05), (17.48, 72.0, 12.38), (25.1, 59.0, 16.53), (-0.27, 54.0, -7.54), (2.59, 34.0, -10.42)]
        {
            let ours = dew_point(celsius, humidity);
            assert!((ours - dew).abs() < 0.1, "{celsius}: {ours} for {dew}");
        }
    }

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
