//! In which language: OpenWeatherMap's own codes, and the tags of browsers and people that mean one of them.

use super::ParameterError;

/// Longest accepted tag. RFC 5646 (section 4.4.1) advises room for 35 characters, before extensions.
pub const MAX_TAG_CHARS: usize = 100;

/// The languages that OpenWeatherMap answers in, one code for each, some of which are not ISO 639.
///
/// From the list in OpenWeatherMap's documentation ("Multilingual support"). Where that has two codes for a language,
/// the other one is an alias of it.
pub const LANGUAGES: [&str; 50] = [
    "af", "al", "ar", "az", "be", "bg", "ca", "cz", "da", "de", "el", "en", "es", "eu", "fa", "fi", "fr", "gl", "he",
    "hi", "hr", "hu", "id", "is", "it", "ja", "kr", "ku", "la", "lt", "mk", "nl", "no", "pl", "pt", "pt_br", "ro",
    "ru", "sk", "sl", "sr", "sv", "th", "tr", "uk", "ur", "vi", "zh_cn", "zh_tw", "zu",
];

/// Other names of a language: a language, or a language and a script or region, and the code in [`LANGUAGES`].
const ALIASES: [(&str, &str); 23] = [
    // OpenWeatherMap's documentation has two codes for one language; ours is the one that ISO 639 has too.
    ("se", "sv"),
    ("sp", "es"),
    ("ua", "uk"),
    // ISO 639-1 has another code than OpenWeatherMap, which would answer in English to it.
    ("cs", "cz"),
    ("ko", "kr"),
    ("lv", "la"),
    // Clients know Albanian by OpenWeatherMap's own code, which is none of ISO 639; some lists have both.
    ("sq", "al"),
    // The two written forms of Norwegian: browsers send these, OpenWeatherMap has one Norwegian.
    ("nb", "no"),
    ("nn", "no"),
    // Retired codes that older Java and Android still send; the IANA registry of RFC 5646 names the preferred one.
    ("in", "id"),
    ("iw", "he"),
    ("mo", "ro"),
    // Chinese is told apart by script, and by region where no script is given: Taiwan, Hong Kong and Macao write
    // traditional characters. CLDR's likely subtags make `zh` alone simplified.
    ("zh", "zh_cn"),
    ("zh_hans", "zh_cn"),
    ("zh_hant", "zh_tw"),
    ("zh_hk", "zh_tw"),
    ("zh_mo", "zh_tw"),
    // Mandarin by its own code: RFC 5646 prefers it to `zh-cmn`.
    ("cmn", "zh_cn"),
    ("cmn_hans", "zh_cn"),
    ("cmn_hant", "zh_tw"),
    ("cmn_tw", "zh_tw"),
    // OpenWeatherMap's codes written like a locale. See `ELSEWHERE`: nobody speaks Kanuri in Korea or Latin in Latvia.
    ("kr_kr", "kr"),
    ("la_lv", "la"),
];

/// Codes of OpenWeatherMap that are another language in ISO 639: Kanuri, Latin, Northern Sami. Alone they are
/// OpenWeatherMap's; with a region or script (`se-NO`) they come from a locale and mean the other, which it has not.
const ELSEWHERE: [&str; 3] = ["kr", "la", "se"];

/// One of [`LANGUAGES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lang(&'static str);

impl Lang {
    /// All of them, each once.
    pub fn all() -> impl Iterator<Item = Self> {
        LANGUAGES.into_iter().map(Self)
    }

    /// The code, as OpenWeatherMap takes it.
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// Reads a language tag such as `de`, `pt_BR` or `zh-Hant-HK` (RFC 5646, or OpenWeatherMap's code).
    ///
    /// `None` for a well-formed tag of a language that OpenWeatherMap does not have: it answers in its default language
    /// then, so such a question is the same as one without a language.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, ParameterError> {
        // RFC 5646, section 2.1.1: case means nothing. Locales of operating systems have `_` for `-`.
        let tag = text.to_ascii_lowercase().replace('-', "_");
        let mut subtags = tag.split('_');
        let language = subtags.next().unwrap_or_default();
        let well_formed = |subtag: &str| (1..=8).contains(&subtag.len()) && alphanumeric(subtag);
        if tag.len() > MAX_TAG_CHARS || !subtags.clone().all(well_formed) {
            return Err(ParameterError::Lang);
        }
        if !((2..=3).contains(&language.len()) && alphabetic(language)) {
            // Section 2.1: private use (`x-…`) and old registrations (`i-klingon`) are well-formed and no language here.
            let registered = matches!(language, "i" | "x") && subtags.next().is_some();
            return if registered { Ok(None) } else { Err(ParameterError::Lang) };
        }
        // Section 2.2: extended languages of three letters, a script of four, a region of two letters or three digits;
        // after that variants, and from the first single character on, extensions and private use.
        let mut rest =
            subtags.skip_while(|tag| tag.len() == 3 && alphabetic(tag)).take_while(|tag| tag.len() > 1).peekable();
        let script = rest.next_if(|tag| tag.len() == 4 && alphabetic(tag));
        let region = rest.next_if(|tag| (tag.len() == 2 && alphabetic(tag)) || (tag.len() == 3 && numeric(tag)));
        // The script says more than the region: `zh-Hans-HK` is simplified.
        let narrowed = [script, region].into_iter().flatten().find_map(|part| known(&format!("{language}_{part}")));
        let of_a_locale = script.or(region).is_some();
        Ok(narrowed.or_else(|| if of_a_locale && ELSEWHERE.contains(&language) { None } else { known(language) }))
    }
}

fn known(tag: &str) -> Option<Lang> {
    let code = ALIASES.into_iter().find(|(alias, _)| *alias == tag).map_or(tag, |(_, code)| code);
    LANGUAGES.into_iter().find(|language| *language == code).map(Lang)
}

fn alphanumeric(subtag: &str) -> bool {
    subtag.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn alphabetic(subtag: &str) -> bool {
    subtag.bytes().all(|byte| byte.is_ascii_alphabetic())
}

fn numeric(subtag: &str) -> bool {
    subtag.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_alias_leads_to_a_language_and_is_none_itself() {
        let codes: std::collections::HashSet<_> = LANGUAGES.into_iter().collect();
        assert_eq!(codes.len(), LANGUAGES.len());
        for (alias, code) in ALIASES {
            assert!(codes.contains(code) && !codes.contains(alias), "{alias}");
        }
    }

    #[test]
    fn what_is_no_language_tag_is_refused() {
        let long = format!("de-{}", "x".repeat(MAX_TAG_CHARS));
        for text in
            ["", "d", "x", "i", "-", "de-", "-de", "de--AT", "d1", "12", "german", "de AT", "dé", "de.UTF-8", &long]
        {
            assert_eq!(Lang::parse(text), Err(ParameterError::Lang), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_code_is_a_fixed_point_and_case_and_separators_mean_nothing(tag in "[a-zA-Z]{2,3}([-_][a-zA-Z0-9]{1,8}){0,4}") {
            let lang = Lang::parse(&tag);
            prop_assert!(lang.is_ok());
            prop_assert_eq!(Lang::parse(&tag.to_ascii_uppercase().replace('-', "_")), lang);
            prop_assert_eq!(Lang::parse(&tag.to_ascii_lowercase().replace('_', "-")), lang);
            if let Ok(Some(lang)) = lang {
                prop_assert_eq!(Lang::parse(lang.as_str()), Ok(Some(lang)));
            }
        }
    }
}
