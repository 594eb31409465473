//! The cities the simulation knows by name.
//!
//! Coordinates, countries and city ids are true, so that links to maps and copied requests work;
//! the climate columns are rough long-term means, only there to keep the invented weather from
//! looking absurd.

/// What decides how warm a place is through the year.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Climate {
    /// Mean temperature of January in °C.
    pub(super) january: f64,
    /// Mean temperature of July in °C.
    pub(super) july: f64,
    /// Metres above the sea; the ground pressure follows from it.
    pub(super) elevation: f64,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct City {
    /// Name as the real service prints it in English.
    pub(super) name: &'static str,
    /// ISO 3166 code of the country.
    pub(super) country: &'static str,
    /// Latitude in ten-thousandths of a degree.
    pub(super) lat: i32,
    /// Longitude in ten-thousandths of a degree.
    pub(super) lon: i32,
    /// Seconds east of UTC in standard time; the simulation has no daylight saving.
    pub(super) timezone: i32,
    /// The city's id at OpenWeatherMap.
    pub(super) id: u64,
    /// Its usual temperatures and height.
    pub(super) climate: Climate,
}

/// Builds a row; `position` is (lat, lon) in ten-thousandths, `climate` is (January °C, July °C,
/// metres).
const fn city(
    name: &'static str,
    country: &'static str,
    position: (i32, i32),
    minutes_east: i32,
    id: u64,
    climate: (i32, i32, i32),
) -> City {
    City {
        name,
        country,
        lat: position.0,
        lon: position.1,
        timezone: minutes_east * 60,
        id,
        climate: Climate { january: climate.0 as f64, july: climate.1 as f64, elevation: climate.2 as f64 },
    }
}

/// Every known city.
#[rustfmt::skip]
pub(super) const CITIES: &[City] = &[
    city("London", "GB", (515_085, -1_257), 0, 2_643_743, (5, 19, 15)),
    city("Paris", "FR", (488_534, 23_488), 60, 2_988_507, (5, 21, 40)),
    city("Berlin", "DE", (525_244, 134_105), 60, 2_950_159, (1, 20, 40)),
    city("Munich", "DE", (481_374, 115_755), 60, 2_867_714, (0, 19, 520)),
    city("Hamburg", "DE", (535_500, 100_000), 60, 2_911_298, (2, 18, 10)),
    city("Amsterdam", "NL", (523_740, 48_897), 60, 2_759_794, (4, 18, 0)),
    city("Brussels", "BE", (508_504, 43_488), 60, 2_800_866, (4, 19, 50)),
    city("Zurich", "CH", (473_667, 85_500), 60, 2_657_896, (1, 19, 410)),
    city("Vienna", "AT", (482_085, 163_721), 60, 2_761_369, (1, 22, 170)),
    city("Prague", "CZ", (500_880, 144_208), 60, 3_067_696, (0, 20, 200)),
    city("Warsaw", "PL", (522_298, 210_118), 60, 756_135, (-1, 20, 110)),
    city("Budapest", "HU", (474_980, 190_399), 60, 3_054_643, (1, 23, 100)),
    city("Rome", "IT", (418_947, 124_839), 60, 3_169_070, (8, 26, 20)),
    city("Madrid", "ES", (404_165, -37_026), 60, 3_117_735, (6, 26, 660)),
    city("Barcelona", "ES", (413_888, 21_590), 60, 3_128_760, (10, 25, 10)),
    city("Lisbon", "PT", (387_167, -91_333), 0, 2_267_057, (12, 23, 40)),
    city("Dublin", "IE", (533_440, -62_672), 0, 2_964_574, (5, 16, 10)),
    city("Copenhagen", "DK", (556_759, 125_655), 60, 2_618_425, (1, 18, 5)),
    city("Oslo", "NO", (599_127, 107_461), 60, 3_143_244, (-4, 18, 20)),
    city("Stockholm", "SE", (593_326, 180_649), 60, 2_673_730, (-1, 19, 20)),
    city("Helsinki", "FI", (601_695, 249_355), 120, 658_225, (-4, 18, 20)),
    city("Reykjavik", "IS", (641_355, -218_954), 0, 3_413_829, (0, 12, 30)),
    city("Kyiv", "UA", (504_501, 305_241), 120, 703_448, (-3, 21, 170)),
    city("Moscow", "RU", (557_522, 376_156), 180, 524_901, (-6, 20, 150)),
    city("Athens", "GR", (379_795, 237_162), 120, 264_371, (10, 29, 90)),
    city("Istanbul", "TR", (410_351, 289_833), 180, 745_044, (6, 24, 40)),
    city("Cairo", "EG", (300_626, 312_497), 120, 360_630, (14, 29, 25)),
    city("Lagos", "NG", (64_541, 33_947), 60, 2_332_459, (27, 26, 10)),
    city("Nairobi", "KE", (-12_833, 368_167), 180, 184_745, (20, 17, 1_680)),
    city("Johannesburg", "ZA", (-262_023, 280_436), 120, 993_800, (20, 10, 1_750)),
    city("Cape Town", "ZA", (-339_258, 184_232), 120, 3_369_157, (21, 12, 20)),
    city("Dubai", "AE", (252_582, 553_047), 240, 292_223, (19, 36, 5)),
    city("Mumbai", "IN", (190_144, 728_479), 330, 1_275_339, (25, 28, 10)),
    city("Delhi", "IN", (286_667, 772_167), 330, 1_273_294, (14, 31, 215)),
    city("Bangkok", "TH", (137_500, 1_005_167), 420, 1_609_350, (27, 29, 5)),
    city("Hanoi", "VN", (210_245, 1_058_412), 420, 1_581_130, (17, 30, 10)),
    city("Singapore", "SG", (12_897, 1_038_501), 480, 1_880_252, (27, 28, 15)),
    city("Jakarta", "ID", (-62_146, 1_068_451), 420, 1_642_911, (27, 28, 8)),
    city("Hong Kong", "HK", (222_783, 1_141_747), 480, 1_819_729, (17, 29, 30)),
    city("Beijing", "CN", (399_075, 1_163_972), 480, 1_816_670, (-3, 27, 45)),
    city("Shanghai", "CN", (312_222, 1_214_581), 480, 1_796_236, (5, 29, 5)),
    city("Seoul", "KR", (375_683, 1_269_778), 540, 1_835_848, (-2, 25, 40)),
    city("Tokyo", "JP", (356_895, 1_396_917), 540, 1_850_144, (5, 26, 40)),
    city("Sydney", "AU", (-338_679, 1_512_073), 600, 2_147_714, (23, 13, 20)),
    city("Melbourne", "AU", (-378_140, 1_449_633), 600, 2_158_177, (20, 10, 30)),
    city("Auckland", "NZ", (-368_667, 1_747_667), 720, 2_193_733, (20, 11, 30)),
    city("New York", "US", (407_143, -740_060), -300, 5_128_581, (1, 25, 10)),
    city("Chicago", "US", (418_500, -876_500), -360, 4_887_398, (-4, 24, 180)),
    city("Los Angeles", "US", (340_522, -1_182_437), -480, 5_368_361, (14, 23, 90)),
    city("San Francisco", "US", (377_749, -1_224_194), -480, 5_391_959, (11, 16, 15)),
    city("Seattle", "US", (476_062, -1_223_321), -480, 5_809_844, (5, 20, 50)),
    city("Honolulu", "US", (213_069, -1_578_583), -600, 5_856_195, (23, 27, 5)),
    city("Toronto", "CA", (437_001, -794_163), -300, 6_167_865, (-4, 22, 100)),
    city("Vancouver", "CA", (492_497, -1_231_193), -480, 6_173_331, (4, 18, 5)),
    city("Mexico City", "MX", (194_285, -991_277), -360, 3_530_597, (14, 17, 2_240)),
    city("Bogotá", "CO", (46_097, -740_817), -300, 3_688_689, (14, 14, 2_600)),
    city("Lima", "PE", (-120_432, -770_282), -300, 3_936_456, (23, 17, 150)),
    city("São Paulo", "BR", (-235_475, -466_361), -180, 3_448_439, (22, 16, 760)),
    city("Buenos Aires", "AR", (-346_132, -583_772), -180, 3_435_910, (25, 11, 25)),
    city("Santiago", "CL", (-334_569, -706_483), -240, 3_871_336, (21, 8, 550)),
];

/// Other spellings (lower case, without accents) and the row they mean.
pub(super) const ALIASES: &[(&str, &str)] = &[
    ("bruxelles", "brussels"),
    ("kiev", "kyiv"),
    ("lisboa", "lisbon"),
    ("moskva", "moscow"),
    ("muenchen", "munich"),
    ("munchen", "munich"),
    ("new delhi", "delhi"),
    ("new york city", "new york"),
    ("nyc", "new york"),
    ("praha", "prague"),
    ("roma", "rome"),
    ("wien", "vienna"),
    ("москва", "moscow"),
    ("東京", "tokyo"),
    ("東京都", "tokyo"),
];

/// The state of each city in the United States, its code and its name: `q=New York,NY` names a state
/// where others name a country.
pub(super) const STATES: &[(&str, &str, &str)] = &[
    ("new york", "NY", "New York"),
    ("chicago", "IL", "Illinois"),
    ("los angeles", "CA", "California"),
    ("san francisco", "CA", "California"),
    ("seattle", "WA", "Washington"),
    ("honolulu", "HI", "Hawaii"),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn rows_are_sound() {
        let ids: HashSet<u64> = CITIES.iter().map(|c| c.id).collect();
        let names: HashSet<&str> = CITIES.iter().map(|c| c.name).collect();
        assert_eq!((ids.len(), names.len()), (CITIES.len(), CITIES.len()));
        for c in CITIES {
            assert!(c.lat.abs() <= 900_000 && c.lon.abs() <= 1_800_000, "{c:?}");
            assert!(c.country.len() == 2 && c.id > 0, "{c:?}");
            // A wrong sign in a longitude shows as a clock far from the sun; real zones stray by at
            // most three hours.
            let solar = f64::from(c.lon) / 10_000.0 * 240.0;
            assert!((f64::from(c.timezone) - solar).abs() < 3.0 * 3600.0, "{c:?}");
        }
    }
}
