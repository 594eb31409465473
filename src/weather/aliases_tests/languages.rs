//! Tags of one language, each row beginning with OpenWeatherMap's code; an empty tag is no language.

use super::Group;

/// As many pairs as the rows have spellings after their first.
pub(super) const PAIRS: usize = 216;

pub(super) const GROUPS: &[Group] = &[
    Group {
        reason: "OpenWeatherMap's documentation has two codes for one language",
        rows: &[&["sv", "se"], &["es", "sp"], &["uk", "ua"]],
    },
    Group {
        reason: "ISO 639 has another code than OpenWeatherMap, and browsers send that",
        rows: &[
            &["cz", "cs", "CS", "cs-CZ", "cs_CZ", "cz-CZ"],
            &["kr", "ko", "KO", "ko-KR", "ko_KR", "ko-KP", "ko-Kore-KR", "kr-KR"],
            &["la", "lv", "LV", "lv-LV", "lv_LV", "la-LV"],
            &["al", "sq", "SQ", "sq-AL", "sq_AL", "sq-XK", "sq-MK", "al-AL"],
        ],
    },
    Group {
        reason: "both written forms of Norwegian are OpenWeatherMap's one Norwegian",
        rows: &[&["no", "nb", "nn", "NB", "nb-NO", "nn-NO", "nb_NO", "nn_NO", "no-NO", "nb-SJ", "no-bok", "no-nyn"]],
    },
    Group {
        reason: "codes that the registry of RFC 5646 has retired for another one",
        rows: &[
            &["he", "iw", "iw-IL", "iw_IL", "he-IL"],
            &["id", "in", "in-ID", "in_ID", "id-ID"],
            &["ro", "mo", "mo-MD"],
        ],
    },
    Group {
        reason: "Chinese without a script or with the simplified one",
        rows: &[&[
            "zh_cn",
            "zh-cn",
            "zh-CN",
            "zh_CN",
            "zh",
            "ZH",
            "zh-Hans",
            "zh_Hans",
            "zh-hans",
            "zh-Hans-CN",
            "zh-Hans-SG",
            "zh_Hans_CN",
            "zh-SG",
            "zh_SG",
            "zh-MY",
            "zh-Hans-HK",
            "zh-Hans-TW",
            "zh-Hans-MO",
            "zh-cmn",
            "zh-cmn-Hans-CN",
            "cmn",
            "cmn-CN",
            "cmn-Hans-CN",
        ]],
    },
    Group {
        reason: "Chinese in the traditional script, or of where that is written",
        rows: &[&[
            "zh_tw",
            "zh-tw",
            "zh-TW",
            "zh_TW",
            "zh-Hant",
            "zh_Hant",
            "zh-hant",
            "zh-Hant-TW",
            "zh_Hant_TW",
            "zh-HK",
            "zh_HK",
            "zh-Hant-HK",
            "zh-MO",
            "zh-Hant-MO",
            "zh-Hant-CN",
            "zh-Hant-MY",
            "zh-cmn-Hant-TW",
            "cmn-Hant",
            "cmn-TW",
            "zh-yue-HK",
        ]],
    },
    Group {
        reason: "OpenWeatherMap tells Brazil's Portuguese from that of all others",
        rows: &[
            &["pt_br", "pt-br", "pt-BR", "pt_BR", "PT-BR", "pt-Latn-BR", "pt-BR-abl1943", "pt-BR-u-ca-gregory"],
            &["pt", "pt-PT", "pt_PT", "pt-AO", "pt-MZ", "pt-CV", "pt-Latn-PT", "pt-PT-ao1990"],
        ],
    },
    Group {
        reason: "regions of a language that OpenWeatherMap has once",
        rows: &[
            &["en", "en-US", "en_US", "en-GB", "en_GB", "en-AU", "en-CA", "en-IN", "en-001", "en-150", "EN"],
            &["de", "de-DE", "de_DE", "de-AT", "de-CH", "de-LI", "de-LU", "DE-at"],
            &["fr", "fr-FR", "fr_FR", "fr-CA", "fr-CH", "fr-BE"],
            &["es", "es-ES", "es_ES", "es-MX", "es-AR", "es-419", "es_419", "es-US", "sp-ES"],
            &["it", "it-IT", "it-CH"],
            &["nl", "nl-NL", "nl-BE"],
            &["ar", "ar-SA", "ar-EG", "ar-001"],
            &["sv", "sv-SE", "sv_SE", "sv-FI"],
            &["uk", "uk-UA", "uk_UA", "ua-UA"],
            &["da", "da-DK", "da-GL"],
            &["el", "el-GR", "el-CY"],
            &["fa", "fa-IR", "fa-AF"],
            &["ja", "ja-JP", "ja_JP"],
            &["ru", "ru-RU", "ru-KZ"],
            &["tr", "tr-TR", "tr-CY"],
            &["vi", "vi-VN"],
            &["th", "th-TH"],
            &["hi", "hi-IN"],
        ],
    },
    Group {
        reason: "scripts of a language that OpenWeatherMap has in one",
        rows: &[
            &["sr", "sr-Latn-RS", "sr-Cyrl-RS", "sr-Latn", "sr_Latn_RS", "sr-RS", "sr-ME"],
            &["az", "az-Latn-AZ", "az-Cyrl", "az-AZ"],
            &["ku", "ku-Latn", "ku-Arab-IQ"],
            &["ja", "ja-Jpan-JP", "ja-Latn-hepburn"],
        ],
    },
    Group {
        reason: "variants, extensions and private use of RFC 5646 do not change the language",
        rows: &[
            &[
                "de",
                "de-DE-u-co-phonebk",
                "de_DE_u_co_phonebk",
                "de-1996",
                "de-CH-1901",
                "de-u-co-phonebk",
                "de-a-value",
            ],
            &["en", "en-US-u-hc-h12", "en-US-posix", "en-GB-oxendict", "en-x-pirate", "en-a-bbb-x-a-ccc"],
            &["ca", "ca-valencia", "ca-ES-valencia"],
            &["sl", "sl-rozaj", "sl-IT-nedis"],
            &["th", "th-TH-u-nu-thai", "th-TH-u-ca-buddhist-nu-thai"],
            &["zh_tw", "zh-Hant-TW-u-ca-roc-nu-hanidec-x-private"],
            &["pt_br", "pt-BR-x-br", "pt-BR-t-en"],
        ],
    },
    Group {
        reason: "a well-formed tag of a language that OpenWeatherMap does not have: its default, as without one",
        rows: &[&["", "xx", "eo", "et-EE", "fil", "fil-PH", "sgn", "yue-HK", "i-klingon", "x-private", "tlh", "cy-GB"]],
    },
    Group {
        reason: "OpenWeatherMap's code is alone; in a locale it is a language that OpenWeatherMap does not have",
        rows: &[&["", "se-NO", "se-FI", "se-SE", "la-VA", "kr-NG", "la-Latn"]],
    },
    Group {
        reason: "a country is no language, and OpenWeatherMap answers in its default to these",
        rows: &[&["", "jp", "gr", "dk", "cn", "at"]],
    },
];
