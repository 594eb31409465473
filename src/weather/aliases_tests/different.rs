//! What stays different: every two of a row are two questions. Sharing a record wrongly gives somebody the weather of
//! another place; not sharing one only costs a call. So all that is not known to be alike is here.

use super::Group;

/// A row of n makes n(n-1)/2 pairs.
pub(super) const PAIRS: usize = 127;

pub(super) const PLACES: &[Group] = &[
    Group {
        reason: "diacritics tell places apart, and whether OpenWeatherMap finds a name without them is its own matter",
        rows: &[
            &["são paulo", "sao paulo"],
            &["zürich", "zurich", "zuerich"],
            &["malmö", "malmo"],
            &["ålesund", "alesund", "aalesund"],
            &["łódź", "łodz", "lodz"],
            &["hà nội", "ha noi"],
            &["йошкар-ола", "иошкар-ола"],
        ],
    },
    Group {
        reason: "ß is no way to write ss: Gießen is in Germany, Giessen in the Netherlands",
        rows: &[&["gießen", "giessen"], &["GIEẞEN", "GIESSEN"]],
    },
    Group {
        reason: "the dotless ı is a letter of its own",
        rows: &[&["ısparta", "isparta"], &["kırıkkale", "kirikkale"]],
    },
    Group {
        reason: "letters that only look alike are of different scripts, and so are names in them",
        rows: &[&["moscow", "москва"], &["рим", "pim"], &["東京", "东京", "tokyo"], &["αθήνα", "athina", "athens"]],
    },
    Group {
        reason: "compatibility forms are other characters (UAX 15); OpenWeatherMap is not known to fold them",
        rows: &[&["london", "ｌｏｎｄｏｎ"], &["ガ", "ｶﾞ"], &["ﬁrenze", "firenze"]],
    },
    Group {
        reason: "the ʻokina is a letter of Hawaiian",
        rows: &[&["hawaiʻi", "hawaii", "hawai'i"], &["lānaʻi", "lānai"]],
    },
    Group {
        reason: "parts are not reordered: OpenWeatherMap finds `Ha Noi, VN` and answers 404 to `VN, Ha Noi` (observed)",
        rows: &[&["ha noi,vn", "vn,ha noi", "ha noi", "vn"]],
    },
    Group {
        reason: "countries are not mapped to codes, and a part more may be another place",
        rows: &[
            &["ha noi,viet nam", "ha noi,vn"],
            &["london,gb", "london,uk", "london,england", "london,ca", "london"],
            &["portland,or,us", "portland,me,us", "portland,us", "portland"],
        ],
    },
    Group {
        reason: "white space, hyphens, dots and apostrophes inside a name belong to it",
        rows: &[
            &["saint-denis", "saint denis", "saintdenis"],
            &["new york", "newyork"],
            &["st. gallen", "st gallen", "sankt gallen"],
            &["l'aquila", "laquila", "l aquila"],
            &["frankfurt (oder)", "frankfurt oder", "frankfurt"],
            &["نیم\u{200c}روز", "نیمروز"],
        ],
    },
    Group {
        reason: "coordinates a hundredth apart have keys of their own at OpenWeatherMap (recorded)",
        rows: &[
            &["51.51,-0.13", "51.51,0.13", "-51.51,-0.13", "-0.13,51.51", "51.5,-0.1"],
            &["51.51,-0.13", "51.52,-0.13"],
            &["51.504,0", "51.506,0"],
        ],
    },
    Group {
        reason: "OpenWeatherMap repeats the coordinates that it was asked for, also where two pairs are one point",
        rows: &[&["0,180", "0,-180"], &["90,0", "90,10"]],
    },
    Group {
        reason: "another number, another city, and an id is no name",
        rows: &[&["id:2643743", "id:26437430", "id:264374"], &["id:94040", "zip:94040"]],
    },
    Group {
        reason: "a postal code is text: zeros, spaces and hyphens in it may matter, the country does",
        rows: &[
            &["zip:01001,us", "zip:1001,us"],
            &["zip:94040,us", "zip:94040,de", "zip:94040,mx"],
            &["zip:sw1a 1aa,gb", "zip:sw1a1aa,gb"],
            &["zip:94040-1234,us", "zip:940401234,us"],
        ],
    },
];

pub(super) const LANGUAGES: &[Group] = &[
    Group {
        reason: "OpenWeatherMap translates into each",
        rows: &[
            &["pt", "pt-BR"],
            &["zh-Hans", "zh-Hant"],
            &["zh-Hans-TW", "zh-TW"],
            &["zh-SG", "zh-HK"],
            &["no", "sv", "da"],
            &["uk", "ru", "be"],
            &["hr", "sr", "sl", "sk"],
            &["ca-ES", "es-ES", "eu-ES", "gl-ES"],
            &["hi", "ur"],
        ],
    },
    Group {
        reason: "a code of OpenWeatherMap's and the tag of another language with a region, which it does not have",
        rows: &[&["se", "se-NO"], &["la", "la-VA"], &["kr", "kr-NG"]],
    },
    Group {
        reason: "that OpenWeatherMap's default is English to the last byte, place names included, is not recorded",
        rows: &[&["", "en"]],
    },
    Group {
        reason: "a region or a variant is no language: Ukraine is no `uk`, Great Britain's `gb` none at all",
        rows: &[&["ru-UA", "uk"], &["de-x-fr", "fr"], &["xx-DE", "de"], &["xx-BR", "pt-BR"]],
    },
    Group {
        reason: "three-letter codes are not to be used where there are two letters (RFC 5646, section 2.2.1)",
        rows: &[&["deu", "de"], &["ger", "de"], &["ces", "cs"]],
    },
];
