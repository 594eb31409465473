//! Where: the forms in which a place can be named, and the one canonical form of each.
//!
//! Canonical means: two spellings that OpenWeatherMap answers alike have the same [`Location`], so they share a record.
//! What it treats as different stays different: diacritics are not folded, parts are not reordered.

use std::fmt;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Longest accepted location in characters. The longest place names have about 170 letters with their country.
pub const MAX_CHARS: usize = 200;
/// City, state, country.
const MAX_PARTS: usize = 3;
/// Longest postal code with its spaces and hyphens in use anywhere is 10; some room.
const MAX_ZIP_CHARS: usize = 12;

/// A place in canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Location {
    /// `city[,state][,country]`: lower case, NFC, `'` for every apostrophe, single spaces, none around commas.
    Name(String),
    /// Latitude and longitude in hundredths of a degree, as OpenWeatherMap's own cache rounds them (about 1.1 km).
    Coordinates {
        /// -9000..=9000, north is positive.
        latitude: i32,
        /// -18000..=18000, east is positive.
        longitude: i32,
    },
    /// OpenWeatherMap's city id.
    Id(u64),
    /// Postal code and two-letter country, both lower case.
    Zip {
        /// The postal code.
        code: String,
        /// ISO 3166 alpha-2; `us` when the caller gave none, which is OpenWeatherMap's own default.
        country: String,
    },
}

/// What is wrong with a location; the text is for the caller and never repeats the location.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// Nothing, or only white space.
    #[error("the location is empty; put a place there, for example London")]
    Empty,
    /// The percent-encoded bytes are not UTF-8.
    #[error("the location is not percent-encoded UTF-8")]
    NotUtf8,
    /// Too many characters.
    #[error("the location is longer than {MAX_CHARS} characters")]
    TooLong,
    /// A character that occurs in no place name.
    #[error(
        "the location has a character that occurs in no place name; letters, digits, spaces and ' - . , / ( ) are fine"
    )]
    Character,
    /// Not a single letter.
    #[error("the location has no letter; for a city id use id:2643743, for a postal code zip:94040,US")]
    NoLetter,
    /// More than city, state, country.
    #[error("the location has more than three parts; it is city, city,country or city,state,country")]
    Parts,
    /// Nothing between two commas.
    #[error("the location has an empty part beside a comma; it is city, city,country or city,state,country")]
    EmptyPart,
    /// Looks like coordinates, but one of them is not a plain decimal number.
    #[error("coordinates are two plain decimal numbers, latitude,longitude, for example 51.51,-0.13")]
    Coordinates,
    /// Latitude out of range.
    #[error("the latitude is not between -90 and 90; coordinates are latitude,longitude")]
    Latitude,
    /// Longitude out of range.
    #[error("the longitude is not between -180 and 180; coordinates are latitude,longitude")]
    Longitude,
    /// `id:` without a positive whole number.
    #[error("a city id is a positive whole number, for example id:2643743")]
    Id,
    /// `zip:` in another form than code,country.
    #[error("a postal code is zip:code,country, for example zip:94040,US or zip:E14,GB")]
    Zip,
}

impl Location {
    /// Reads a location as it stands in a path: percent-encoded UTF-8, `+` for a space allowed.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn from_path(segment: &str) -> Result<Self, LocationError> {
        if is_plain_name(segment) {
            return Ok(Self::Name(segment.to_ascii_lowercase()));
        }
        Self::from_any_path(segment)
    }

    /// Reads a city id.
    ///
    /// # Errors
    /// It is not a positive whole number.
    pub(super) fn from_id(text: &str) -> Result<Self, LocationError> {
        let text = text.trim();
        let id = if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().unwrap_or(0) } else { 0 };
        if id == 0 { Err(LocationError::Id) } else { Ok(Self::Id(id)) }
    }

    /// Reads a postal code with its country; without one it is of the United States.
    ///
    /// # Errors
    /// It is of another form.
    pub(super) fn from_zip(text: &str) -> Result<Self, LocationError> {
        let (code, country) = text.split_once(',').unwrap_or((text, "us"));
        let code = code.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase();
        let country = country.trim().to_ascii_lowercase();
        let code_is_plain = code.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'-'));
        let country_is_plain = country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_lowercase());
        if code.is_empty() || code.len() > MAX_ZIP_CHARS || !code_is_plain || !country_is_plain {
            return Err(LocationError::Zip);
        }
        Ok(Self::Zip { code, country })
    }

    /// Reads a name as it stands in OpenWeatherMap's parameter `q`, which takes more than [`Location::from_path`]: commas with
    /// nothing beside them, and numbers.
    ///
    /// # Errors
    /// Nothing can be called that.
    pub(super) fn from_q(text: &str) -> Result<Self, LocationError> {
        let text: String = text.chars().map(plain).collect();
        if text.chars().count() > MAX_CHARS {
            return Err(LocationError::TooLong);
        }
        let parts: Vec<_> = parts(&text)?.into_iter().filter(|part| !part.is_empty()).collect();
        if parts.is_empty() {
            return Err(LocationError::Empty);
        }
        named(&parts)
    }

    /// The place at these degrees, which are in range.
    pub(super) fn point(latitude: f64, longitude: f64) -> Self {
        Self::Coordinates { latitude: hundredths(latitude), longitude: hundredths(longitude) }
    }

    fn from_any_path(segment: &str) -> Result<Self, LocationError> {
        let spaced = segment.replace('+', " ");
        let text = percent_encoding::percent_decode_str(&spaced).decode_utf8().map_err(|_| LocationError::NotUtf8)?;
        text.parse()
    }
}

/// Whether a segment is a name as most callers write it: one to three parts of ASCII letters, as in `Portland,OR,US`. Its
/// lower case is canonical, at a tenth of what decoding, composing and trimming cost.
pub(super) fn is_plain_name(segment: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphabetic());
    segment.len() <= MAX_CHARS && segment.split(',').all(plain) && segment.split(',').count() <= MAX_PARTS
}

impl std::str::FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        let text: String = text.chars().map(plain).collect();
        let text = text.trim();
        if text.is_empty() {
            return Err(LocationError::Empty);
        }
        if text.chars().count() > MAX_CHARS {
            return Err(LocationError::TooLong);
        }
        if let Some((prefix, rest)) = text.split_once(':') {
            return match prefix.trim().to_ascii_lowercase().as_str() {
                "id" => Self::from_id(rest),
                "zip" => Self::from_zip(rest),
                _ => Err(LocationError::Character),
            };
        }
        if let Some((latitude, longitude)) = text.split_once(',')
            && (looks_numeric(latitude) || looks_numeric(longitude))
            && !longitude.contains(',')
        {
            return parse_coordinates(latitude, longitude);
        }
        parse_name(text)
    }
}

/// Writes the canonical form; parsing it gives the same location again.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Coordinates { latitude, longitude } => {
                write!(f, "{},{}", Hundredths(*latitude), Hundredths(*longitude))
            }
            Self::Id(id) => write!(f, "id:{id}"),
            Self::Zip { code, country } => write!(f, "zip:{code},{country}"),
        }
    }
}

/// Hundredths printed as OpenWeatherMap's cache prints them: no trailing zeros (`135`, `-0.13`, `51.5`).
pub struct Hundredths(pub i32);

impl fmt::Display for Hundredths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, part) = (self.0.abs() / 100, self.0.abs() % 100);
        match (part / 10, part % 10) {
            (0, 0) => write!(f, "{sign}{whole}"),
            (tenth, 0) => write!(f, "{sign}{whole}.{tenth}"),
            _ => write!(f, "{sign}{whole}.{part:02}"),
        }
    }
}

/// Characters that stand for a plain one, whichever of them a keyboard, a phone's smart punctuation or a web page chose.
///
/// All but the apostrophes occur in no place name, so that reading them costs no place its own spelling. And no two
/// places differ only in the form of an apostrophe: OpenWeatherMap's names come from GeoNames, which has an ASCII
/// spelling of each, with `'`. The ʻokina (U+02BB) is not here: it is a letter of Hawaiian.
fn plain(character: char) -> char {
    match character {
        // No-break space, ideographic space and their like (Unicode's White_Space); a tab or line break is refused.
        space if space.is_whitespace() && !space.is_control() => ' ',
        // Full-width and Arabic comma.
        '\u{ff0c}' | '\u{60c}' => ',',
        // Hyphen, non-breaking hyphen, minus sign. Not the dashes, which join two places.
        '\u{2010}' | '\u{2011}' | '\u{2212}' => '-',
        // Right and left single quotation mark, modifier letter apostrophe.
        '\u{2019}' | '\u{2018}' | '\u{2bc}' => '\'',
        other => other,
    }
}

/// Lower case in one way, whichever case it came in. The text is in NFC, and the result too.
fn lower_case(text: &str) -> String {
    // Σ has two small forms, by its place in the word. Only the rule that a whole string is lower-cased by (Unicode's
    // Final_Sigma) gets it right, and only from the capital. ς at the end is what the upstream has to be asked for.
    let lower = text.replace(['σ', 'ς'], "Σ").to_lowercase();
    // Without a locale İ becomes i with a second dot (U+0307), a spelling that nobody has. In Turkish and Azeri, the
    // languages that write İ, its small letter is i; so İstanbul, ISTANBUL and istanbul are one. The dotless ı stays.
    let mut previous = ' ';
    let dotted_once = lower.chars().filter(|&c| {
        let second_dot = c == '\u{307}' && previous == 'i';
        if !second_dot {
            previous = c;
        }
        !second_dot
    });
    dotted_once.nfc().collect()
}

/// Meant as a number, rightly or wrongly written. Not the "100 Mile House" of British Columbia.
fn looks_numeric(part: &str) -> bool {
    let part = part.trim();
    part.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '-' | '+' | '.'))
        && part.chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E'))
}

fn parse_coordinates(latitude: &str, longitude: &str) -> Result<Location, LocationError> {
    let (latitude, longitude) = (decimal(latitude)?, decimal(longitude)?);
    if !(-90.0..=90.0).contains(&latitude) {
        return Err(LocationError::Latitude);
    }
    if !(-180.0..=180.0).contains(&longitude) {
        return Err(LocationError::Longitude);
    }
    Ok(Location::point(latitude, longitude))
}

/// A plain decimal number: no exponent, no `inf`, no `nan`.
fn decimal(text: &str) -> Result<f64, LocationError> {
    let text = text.trim();
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    // bc and others print no zero before the point (`-.13`); with nothing after it, a number was cut off.
    if plain && !digits.is_empty() && !digits.ends_with('.') {
        text.parse().map_err(|_| LocationError::Coordinates)
    } else {
        Err(LocationError::Coordinates)
    }
}

/// The range was checked before, so the value fits; -0 becomes 0.
#[expect(clippy::cast_possible_truncation, reason = "at most 18000 in magnitude")]
fn hundredths(degrees: f64) -> i32 {
    (degrees * 100.0).round() as i32
}

/// Degrees in ten-thousandths, about 11 m, without trailing zeros; -0 becomes 0.
pub(super) fn ten_thousandths(degrees: f64) -> String {
    ((degrees * 10_000.0).round() / 10_000.0 + 0.0).to_string()
}

fn parse_name(text: &str) -> Result<Location, LocationError> {
    let parts = parts(text)?;
    if parts.len() > MAX_PARTS {
        return Err(LocationError::Parts);
    }
    if parts.iter().any(String::is_empty) {
        return Err(LocationError::EmptyPart);
    }
    if !parts.iter().any(|part| part.chars().any(char::is_alphabetic)) {
        return Err(LocationError::NoLetter);
    }
    named(&parts)
}

/// The parts of a name, each in its one spelling.
fn parts(text: &str) -> Result<Vec<String>, LocationError> {
    let composed = lower_case(&text.nfc().collect::<String>());
    if !composed.chars().all(occurs_in_names) || !joined_by_slashes(&composed) {
        return Err(LocationError::Character);
    }
    Ok(composed.split(',').map(|part| part.split_whitespace().collect::<Vec<_>>().join(" ")).collect())
}

/// Whether slashes, if there are any, stand between words, as in names in two languages: `../` is no name.
fn joined_by_slashes(text: &str) -> bool {
    let is_word = |part: &str| {
        let (first, last) = (part.trim().chars().next(), part.trim().chars().next_back());
        [first, last].into_iter().all(|end| end.is_some_and(|end| end.is_alphanumeric() || is_combining_mark(end)))
    };
    !text.contains('/') || text.split('/').all(is_word)
}

fn named(parts: &[String]) -> Result<Location, LocationError> {
    let name = parts.join(",");
    // A few characters are several in NFC.
    if name.chars().count() > MAX_CHARS {
        return Err(LocationError::TooLong);
    }
    Ok(Location::Name(name))
}

/// Letters, marks and digits of all scripts, and the punctuation of names such as L'Aquila, Saint-Denis, St. Gallen,
/// Frankfurt (Oder), Vall·llobrega, Westward Ho!, Biel/Bienne, シティ・オブ・ロンドン (U+30FB). The zero width non-joiner
/// (U+200C) and joiner (U+200D) are part of Persian and Sinhala spelling.
fn occurs_in_names(character: char) -> bool {
    character.is_alphanumeric() || is_combining_mark(character) || " ,'-.()/ʻ·・!\u{200c}\u{200d}".contains(character)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(path: &str) -> String {
        Location::from_path(path).unwrap_or_else(|error| panic!("{path}: {error}")).to_string()
    }

    #[test]
    fn every_form_has_one_canonical_spelling() {
        for (path, expected) in [
            ("London", "london"),
            ("%20%20LONDON%20", "london"),
            ("London,%20GB", "london,gb"),
            ("new+york,ny,us", "new york,ny,us"),
            ("New%20%20York", "new york"),
            ("S%C3%A3o%20Paulo", "são paulo"),
            ("Sa%CC%83o%20Paulo", "são paulo"),
            ("%E5%8C%97%E4%BA%AC", "北京"),
            ("%D8%A7%D9%84%D9%82%D8%A7%D9%87%D8%B1%D8%A9", "القاهرة"),
            ("%E0%A4%A6%E0%A4%BF%E0%A4%B2%E0%A5%8D%E0%A4%B2%E0%A5%80", "दिल्ली"),
            ("L'Aquila", "l'aquila"),
            ("Frankfurt (Oder)", "frankfurt (oder)"),
            ("Nan,TH", "nan,th"),
            ("100 Mile House,CA", "100 mile house,ca"),
            ("Biel%2FBienne", "biel/bienne"),
            ("%E3%82%AF%E3%82%A2%E3%83%A9%E3%83%BB%E3%83%AB%E3%83%B3%E3%83%97%E3%83%BC%E3%83%AB", "クアラ・ルンプール"),
            ("51.5074,-0.1278", "51.51,-0.13"),
            ("+51.510,-0.130", "51.51,-0.13"),
            ("82.8628,135.0", "82.86,135"),
            ("-0.001,0", "0,0"),
            ("90,-180", "90,-180"),
            ("id:2643743", "id:2643743"),
            ("ID:002643743", "id:2643743"),
            ("zip:94040", "zip:94040,us"),
            ("zip:94040,US", "zip:94040,us"),
            ("zip:SW1A%201AA,gb", "zip:sw1a 1aa,gb"),
        ] {
            assert_eq!(canonical(path), expected, "{path}");
        }
    }

    #[test]
    fn every_bad_location_is_refused_with_its_reason() {
        use LocationError as E;
        let long = "a".repeat(300);
        for (path, expected) in [
            ("", E::Empty),
            ("%20%09", E::Empty),
            (long.as_str(), E::TooLong),
            ("Lon%00don", E::Character),
            ("Lon%1Bdon", E::Character),
            ("Lon%E2%80%AEdon", E::Character),
            ("%FF", E::NotUtf8),
            ("a%zz", E::Character),
            ("..%2f..", E::Character),
            ("%2e%2e%2fadmin", E::Character),
            ("Biel%2f,CH", E::Character),
            ("a%2f%2fb", E::Character),
            ("..", E::NoLetter),
            ("London&appid=x", E::Character),
            ("London%26appid%3Dx", E::Character),
            ("London%0D%0AX-Evil:%201", E::Character),
            ("%22London%22", E::Character),
            ("%F0%9F%8C%A7", E::Character),
            ("91,0", E::Latitude),
            ("0,181", E::Longitude),
            ("NaN,1", E::Coordinates),
            ("1e400,0", E::Coordinates),
            ("1,inf", E::Coordinates),
            ("51.,1", E::Coordinates),
            ("1.2.3,1", E::Coordinates),
            ("12345", E::NoLetter),
            ("id:-1", E::Id),
            ("id:0", E::Id),
            ("id:abc", E::Id),
            ("id:", E::Id),
            ("id:99999999999999999999999", E::Id),
            ("zip:", E::Zip),
            ("zip:94040,USA", E::Zip),
            ("zip:9404012345678,us", E::Zip),
            ("zip:94040,us,x", E::Zip),
            ("city:London", E::Character),
            ("London,,GB", E::EmptyPart),
            ("London,", E::EmptyPart),
            ("a,b,c,d", E::Parts),
        ] {
            assert_eq!(Location::from_path(path), Err(expected), "{path}");
        }
    }

    proptest! {
        #[test]
        fn ascii_case_and_surrounding_spaces_mean_nothing(text in "[a-zA-Zéßσςıİ0-9 ,.'()-]{0,30}|(id|zip):[a-zA-Z0-9 ,-]{0,12}") {
            let location = text.parse::<Location>();
            prop_assert_eq!(text.to_ascii_uppercase().parse::<Location>(), location.clone());
            prop_assert_eq!(text.to_ascii_lowercase().parse::<Location>(), location.clone());
            prop_assert_eq!(format!(" \u{a0}{text}\u{3000}").parse::<Location>(), location);
        }

        #[test]
        fn a_plain_name_is_read_like_any_other(segment in "[a-zA-Z,]{0,20}|[a-z]{198,202}") {
            prop_assert_eq!(Location::from_path(&segment), Location::from_any_path(&segment));
        }

        #[test]
        fn parsing_never_panics_and_the_canonical_form_is_a_fixed_point(text in "\\PC{0,40}|[iIıİσΣς\u{307}\u{301}\u{323}a,. ’]{0,12}|[a-zA-Z ,.'-]{0,30}|-?[0-9]{1,3}\\.[0-9]{0,5},-?[0-9.]{1,6}") {
            if let Ok(location) = text.parse::<Location>() {
                prop_assert_eq!(location.to_string().parse::<Location>(), Ok(location));
            }
        }
    }
}
