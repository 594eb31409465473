//! Spellings of one place, each row beginning with the canonical one.

use super::Group;

/// As many pairs as the rows have spellings after their first.
pub(super) const PAIRS: usize = 206;

pub(super) const GROUPS: &[Group] = &[
    Group {
        reason: "OpenWeatherMap's own cache key is lower case (recorded)",
        rows: &[
            &["london", "London", "LONDON", "lONDON"],
            &["new york,ny,us", "New York,NY,US", "NEW YORK,NY,US"],
            &["são paulo", "São Paulo", "SÃO PAULO"],
            &["москва", "Москва", "МОСКВА"],
            &["žilina", "Žilina", "ŽILINA"],
            &["երեւան", "Երեւան", "ԵՐԵՒԱՆ"],
            &["თბილისი", "ᲗᲑᲘᲚᲘᲡᲘ"],
            &["łódź", "Łódź", "ŁÓDŹ"],
            &["þórshöfn", "Þórshöfn", "ÞÓRSHÖFN"],
            &["gießen", "Gießen", "GIEẞEN"],
            &["ǆ", "ǅ", "Ǆ"],
        ],
    },
    Group {
        reason: "Σ has two small forms, and which one is right depends on its place in the word only",
        rows: &[
            &["πειραιάς,gr", "Πειραιάς,GR", "ΠΕΙΡΑΙΆΣ,GR", "πειραιάσ,gr"],
            &["σέρρες", "Σέρρες", "ΣΈΡΡΕΣ", "ςέρρεσ"],
            &["άγιος νικόλαος", "Άγιος Νικόλαος", "ΆΓΙΟΣ ΝΙΚΌΛΑΟΣ", "άγιοσ νικόλαοσ"],
        ],
    },
    Group {
        reason: "the small letter of the Turkish and Azeri İ is i",
        rows: &[
            &["istanbul", "İstanbul", "ISTANBUL", "İSTANBUL", "Istanbul", "i\u{307}stanbul", "I\u{307}stanbul"],
            &["izmir,tr", "İzmir,TR", "IZMIR,TR", "İZMİR,TR", "i\u{307}zmi\u{307}r,tr"],
        ],
    },
    Group {
        reason: "+ and %20 are a space in OpenWeatherMap's cache key (recorded), and how much of it means nothing",
        rows: &[
            &[
                "new york",
                "new+york",
                "new%20york",
                "new  york",
                "New%20%20York",
                "+new+york+",
                "%20new york",
                "new york ",
            ],
            &["rio de janeiro", "rio+de+janeiro", "Rio%20de%20Janeiro", "rio  de   janeiro"],
            &["london,gb", "london, gb", "london ,gb", "london , gb", "london,+gb", "London,%20GB"],
            &["portland,or,us", "Portland, OR, US", "portland ,or ,us", "portland,  or,us "],
        ],
    },
    Group {
        reason: "percent-encoding is of the address, not of the name (RFC 3986, section 2.4)",
        rows: &[
            &["london,gb", "London%2CGB", "london%2c gb"],
            &["s\u{e3}o paulo", "s%C3%A3o%20paulo", "s%c3%a3o+paulo"],
            &["北京", "%E5%8C%97%E4%BA%AC", "%e5%8c%97京"],
            &["london", "%6Condon", "l%6fndon", "%4Condon"],
            &["القاهرة", "%D8%A7%D9%84%D9%82%D8%A7%D9%87%D8%B1%D8%A9"],
            &["l'aquila", "l%27aquila", "L%27Aquila"],
        ],
    },
    Group {
        reason: "Unicode's canonical equivalence (UAX 15): the same text composed or not",
        rows: &[
            &["são paulo", "sa\u{303}o paulo", "SA\u{303}O PAULO"],
            &["zürich", "zu\u{308}rich", "Zu\u{308}rich", "ZU\u{308}RICH"],
            &["ålesund", "a\u{30a}lesund", "\u{212b}lesund", "A\u{30a}LESUND"],
            &["kyiv", "\u{212a}yiv"],
            &["서울", "\u{1109}\u{1165}\u{110b}\u{116e}\u{11af}"],
            &["부산", "\u{1107}\u{116e}\u{1109}\u{1161}\u{11ab}"],
            &["hà nội", "ha\u{300} no\u{323}\u{302}i", "ha\u{300} no\u{302}\u{323}i", "HÀ NỘI"],
            &["đà nẵng", "đa\u{300} na\u{306}\u{303}ng", "Đà Nẵng"],
            &["ガ", "カ\u{3099}"],
            &["αθήνα", "αθη\u{301}να", "ΑΘΉΝΑ", "αθ\u{1f75}να"],
            &["škofja loka", "s\u{30c}kofja loka"],
            &["йошкар-ола", "и\u{306}ошкар-ола", "И\u{306}ОШКАР-ОЛА"],
        ],
    },
    Group {
        reason: "Unicode's other white space comes from web pages and keyboards; a name has no use for it",
        rows: &[
            &["new york", "new\u{a0}york", "new\u{3000}york", "new\u{2003}york", "new\u{2009}york", "new\u{202f}york"],
            &["new york,us", "new%C2%A0york,us", "new%E3%80%80york,us", "new \u{a0}york,us", "new york\u{a0},us"],
            &["london", "\u{a0}london", "london\u{3000}", "london%0A", "%09london"],
            &["london,gb", "london,\u{a0}gb", "london\u{3000},\u{3000}gb"],
            &["51.51,-0.13", "51.51,\u{a0}-0.13", "\u{2009}51.51,-0.13"],
            &["zip:sw1a 1aa,gb", "zip:sw1a\u{a0}1aa,gb"],
            &["id:2643743", "id:\u{a0}2643743"],
        ],
    },
    Group {
        reason: "commas of East Asian and Arabic keyboards; no name has one, so they can only separate",
        rows: &[
            &["東京,jp", "東京，jp", "東京， jp"],
            &["القاهرة,eg", "القاهرة،eg", "القاهرة، eg", "القاهرة،%20EG"],
            &["portland,or,us", "portland，or，us", "portland،or,us"],
            &["51.51,-0.13", "51.51，-0.13", "51.51، -0.13"],
            &["zip:94040,us", "zip:94040，us"],
        ],
    },
    Group {
        reason: "the form of an apostrophe is chosen by the keyboard, and no two places differ in it",
        rows: &[
            &["l'aquila", "l’aquila", "L’Aquila", "l‘aquila", "l%E2%80%99aquila"],
            &["val-d'isère", "Val-d’Isère", "val-dʼisère"],
            &["кам'янець-подільський", "Кам’янець-Подільський", "камʼянець-подільський"],
            &["coeur d'alene,us", "Coeur d’Alene,US", "coeur d‘alene,us"],
        ],
    },
    Group {
        reason: "the hyphens and the minus sign that a page shows where a keyboard has one",
        rows: &[
            &["saint-denis,re", "Saint\u{2010}Denis,RE", "saint\u{2011}denis,re"],
            &["51.51,-0.13", "51.51,\u{2212}0.13", "51.51,\u{2011}0.13", "51.51,%E2%88%920.13"],
        ],
    },
    Group {
        reason: "OpenWeatherMap's cache key has coordinates rounded to two decimals, without trailing zeros (recorded)",
        rows: &[
            &[
                "51.51,-0.13",
                "51.5074,-0.1278",
                "51.50740,-0.12780",
                "51.510,-0.130",
                "51.5073,-0.1277",
                "51.514999,-0.125001",
            ],
            &["51.51,-0.13", "51.51, -0.13", "51.51 ,-0.13", "%2051.51,-0.13", "51.51%2C-0.13", "+51.51,-0.13"],
            &["51.51,-0.13", "%2B51.51,-0.13", "051.51,-00.13", "51.51,-.13", "51.51000000000000001,-0.13"],
            &["82.86,135", "82.8628,135.0", "82.86,135.00", "82.86,%2B135", "82.86,134.999"],
            &["37.78,-122.42", "37.78008,-122.420168", "37.7800,-122.4200"],
            &["0,0", "-0,-0", "-0.0,0.00", "0.001,-0.001", "-0.004,0", "%2B0,-0", ".0,-.0", "000,00"],
            &["51.5,0", "51.50,0", "51.500,0.0", "%2B51.5,0", "51.5,-0", "051.5,0"],
            &["90,180", "90.0,180.0", "89.999,179.999", "90.00,+180"],
            &["-90,-180", "-90.0,-180.00", "\u{2212}90,\u{2212}180"],
            &["0.5,-0.5", ".5,-.5", "00.5,-0.50"],
        ],
    },
    Group {
        reason: "a city id is a number",
        rows: &[
            &["id:2643743", "ID:2643743", "Id:2643743", "iD:2643743", "id:02643743", "id:0002643743", "id: 2643743"],
            &[
                "id:2643743",
                "id:+2643743",
                "id :2643743",
                "id:2643743 ",
                "%20id:2643743",
                "id%3A2643743",
                "ID%3a%202643743",
            ],
        ],
    },
    Group {
        reason: "OpenWeatherMap documents the United States as the default of postal codes; its cache key is lower case",
        rows: &[
            &[
                "zip:94040,us",
                "zip:94040",
                "zip:94040,US",
                "ZIP:94040,Us",
                "Zip:94040",
                "zip: 94040 , us",
                "zip:+94040,+us",
            ],
            &["zip:94040,us", "zip%3A94040%2CUS", "zip:94040%20", "zip :94040"],
            &["zip:sw1a 1aa,gb", "zip:SW1A 1AA,GB", "zip:sw1a+1aa,gb", "zip:SW1A%20%201AA,gb", "zip:Sw1a 1aA, Gb"],
            &["zip:e14,gb", "zip:E14,GB", "zip:e14 ,gb"],
            &["zip:00-950,pl", "zip:00-950,PL", "zip:00\u{2011}950,pl"],
        ],
    },
];
