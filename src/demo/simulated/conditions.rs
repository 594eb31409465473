//! The condition codes the simulation uses, and their names in a few languages.

/// Languages with translated descriptions; every other one gets English, as an unknown one does
/// from the real service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lang {
    /// `en`, and whatever is not listed.
    English,
    /// `de`
    German,
    /// `fr`
    French,
    /// `es`, or `sp` in the real service's older spelling.
    Spanish,
    /// `it`
    Italian,
    /// `pt_br`
    Brazilian,
    /// `ja`
    Japanese,
}

impl Lang {
    /// Reads the `lang` parameter, in any case.
    pub(super) fn from_parameter(text: &str) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "de" => Self::German,
            "fr" => Self::French,
            "es" | "sp" => Self::Spanish,
            "it" => Self::Italian,
            "pt_br" => Self::Brazilian,
            "ja" => Self::Japanese,
            _ => Self::English,
        }
    }
}

/// One condition code.
#[derive(Debug)]
pub(super) struct Condition {
    /// The code.
    pub(super) id: u16,
    /// Its group, never translated.
    pub(super) main: &'static str,
    /// Number of the icon, without the letter for day or night.
    icon: &'static str,
    /// English, German, French, Spanish, Italian, Brazilian Portuguese, Japanese.
    descriptions: [&'static str; 7],
}

impl Condition {
    /// The entry for a code. A code that is not listed is shown as a clear sky; the tests see to it
    /// that none is produced.
    pub(super) fn of(id: u16) -> &'static Self {
        CONDITIONS.iter().find(|known| known.id == id).unwrap_or(&CLEAR)
    }

    /// The text in a language.
    pub(super) fn description(&self, lang: Lang) -> &'static str {
        let [english, german, french, spanish, italian, brazilian, japanese] = self.descriptions;
        match lang {
            Lang::English => english,
            Lang::German => german,
            Lang::French => french,
            Lang::Spanish => spanish,
            Lang::Italian => italian,
            Lang::Brazilian => brazilian,
            Lang::Japanese => japanese,
        }
    }

    /// The icon's name, such as `10d`.
    pub(super) fn icon(&self, daytime: bool) -> String {
        format!("{}{}", self.icon, if daytime { 'd' } else { 'n' })
    }
}

const fn entry(id: u16, main: &'static str, icon: &'static str, descriptions: [&'static str; 7]) -> Condition {
    Condition { id, main, icon, descriptions }
}

#[rustfmt::skip]
const CLEAR: Condition = entry(800, "Clear", "01", ["clear sky", "Klarer Himmel", "ciel dégagé", "cielo claro", "cielo sereno", "céu limpo", "晴天"]);

#[rustfmt::skip]
const CONDITIONS: &[Condition] = &[
    entry(201, "Thunderstorm", "11", ["thunderstorm with rain", "Gewitter mit Regen", "orage et pluie", "tormenta con lluvia", "temporale con pioggia", "trovoada com chuva", "雷雨"]),
    entry(300, "Drizzle", "09", ["light intensity drizzle", "Leichter Nieselregen", "bruine légère", "llovizna ligera", "pioviggine leggera", "garoa fraca", "霧雨"]),
    entry(500, "Rain", "10", ["light rain", "Leichter Regen", "légère pluie", "lluvia ligera", "pioggia leggera", "chuva leve", "小雨"]),
    entry(501, "Rain", "10", ["moderate rain", "Mäßiger Regen", "pluie modérée", "lluvia moderada", "pioggia moderata", "chuva moderada", "適度な雨"]),
    entry(502, "Rain", "10", ["heavy intensity rain", "Starker Regen", "forte pluie", "lluvia intensa", "forte pioggia", "chuva forte", "強い雨"]),
    entry(600, "Snow", "13", ["light snow", "Leichter Schneefall", "légères chutes de neige", "nevada ligera", "neve leggera", "neve fraca", "小雪"]),
    entry(601, "Snow", "13", ["snow", "Schneefall", "chutes de neige", "nieve", "neve", "neve", "雪"]),
    entry(602, "Snow", "13", ["heavy snow", "Starker Schneefall", "fortes chutes de neige", "nevada intensa", "forte nevicata", "neve forte", "大雪"]),
    entry(701, "Mist", "50", ["mist", "Dunst", "brume", "neblina", "foschia", "névoa", "もや"]),
    entry(741, "Fog", "50", ["fog", "Nebel", "brouillard", "niebla", "nebbia", "nevoeiro", "霧"]),
    CLEAR,
    entry(801, "Clouds", "02", ["few clouds", "Ein paar Wolken", "peu nuageux", "algo de nubes", "poche nuvole", "algumas nuvens", "薄い雲"]),
    entry(802, "Clouds", "03", ["scattered clouds", "Mäßig bewölkt", "partiellement nuageux", "nubes dispersas", "nubi sparse", "nuvens dispersas", "雲"]),
    entry(803, "Clouds", "04", ["broken clouds", "Überwiegend bewölkt", "nuageux", "muy nuboso", "nubi irregolari", "nublado", "曇りがち"]),
    entry(804, "Clouds", "04", ["overcast clouds", "Bedeckt", "couvert", "cubierto", "cielo coperto", "encoberto", "厚い雲"]),
];
