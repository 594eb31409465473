//! Cards of whatever an answer says.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::text::{COLUMNS, columns, controls};
use super::*;

const MAX_LINES: usize = 8;

fn london() -> Value {
    json!({
        "coord": {"lon": -0.1257, "lat": 51.5085},
        "weather": [{"id": 500, "main": "Rain", "description": "light rain", "icon": "10d"}],
        "base": "stations",
        "main": {"temp": 14.62, "feels_like": 13.91, "pressure": 1012, "humidity": 62},
        "visibility": 10000,
        "wind": {"speed": 3.6, "deg": 225, "gust": 8.24},
        "sys": {"country": "GB", "sunrise": 1_790_000_000, "sunset": 1_790_045_000},
        "timezone": 3600,
        "name": "London",
        "cod": 200
    })
}

fn card_of(said: &Value, units: Units) -> String {
    card(said.to_string().as_bytes(), units)
}

#[test]
fn a_card_tells_the_weather_in_eight_lines() {
    let expected = [
        "London, GB",
        "     .-.      light rain",
        "    (   ).    14.6 °C, feels like 13.9 °C",
        "   (___(__)   wind ↗ 3.6 m/s from SW, gusts 8.2",
        "   / / / /    humidity 62 %, pressure 1012 hPa",
        "  / / / /     visibility 10.0 km",
        "sunrise 15:13, sunset 03:43, local time",
        ATTRIBUTION,
    ];
    assert_eq!(card_of(&london(), Units::Metric).lines().collect::<Vec<_>>(), expected);
}

#[test]
fn units_are_those_that_the_question_asks_for() {
    for (units, wanted) in [
        (Units::Metric, ["14.6 °C", "3.6 m/s", "10.0 km"]),
        (Units::Imperial, ["14.6 °F", "3.6 mph", "6.2 mi"]),
        (Units::Standard, ["14.6 K", "3.6 m/s", "10.0 km"]),
    ] {
        let card = card_of(&london(), units);
        assert!(wanted.iter().all(|part| card.contains(part)), "{units:?}: {card}");
    }
}

#[test]
fn the_arrow_of_the_wind_shows_where_it_goes() {
    for (degrees, wanted) in [(0, "↓ 3.6 m/s from N"), (90, "← 3.6 m/s from E"), (359, "↓"), (-90, "→ 3.6 m/s from W")]
    {
        let mut said = london();
        said["wind"]["deg"] = degrees.into();
        let card = card_of(&said, Units::Metric);
        assert!(card.contains(wanted), "{degrees}: {card}");
    }
}

#[test]
fn what_is_missing_is_left_out_and_the_rest_is_told() {
    for (part, gone) in [
        ("/name", "London"),
        ("/weather", "light rain"),
        ("/main", "humidity"),
        ("/main/temp", "14.6 °C"),
        ("/main/feels_like", "feels"),
        ("/wind", "wind"),
        ("/wind/deg", "from"),
        ("/visibility", "visibility"),
        ("/timezone", "sunrise"),
        ("/sys/sunset", "sunset"),
    ] {
        assert!(card_of(&london(), Units::Metric).contains(gone), "{gone}");
        let mut said = london();
        *said.pointer_mut(part).unwrap() = Value::Null;
        let card = card_of(&said, Units::Metric);
        assert!(!card.contains(gone) && card.contains(ATTRIBUTION) && card.lines().count() > 4, "{part}: {card}");
    }
    let nowhere = json!({"name": "", "coord": {"lat": -3.5, "lon": 12.0}, "main": {"temp": -0.04}});
    assert_eq!(card_of(&nowhere, Units::Metric), format!("-3.50, 12.00\n0.0 °C\n{ATTRIBUTION}\n"));
    assert_eq!(card(b"no JSON at all", Units::Metric), format!("{NOTHING}\n{ATTRIBUTION}\n"));
}

#[test]
fn weather_that_is_made_up_is_not_attributed_to_anybody() {
    let mut said = london();
    said["base"] = "simulated".into();
    let card = card_of(&said, Units::Metric);
    assert!(card.ends_with(&format!("{SIMULATED}\n")) && !card.contains("OpenWeather"), "{card}");
}

#[test]
fn a_name_cannot_reach_for_the_terminal() {
    let mut said = london();
    said["name"] = "\u{1b}[2J\u{1b}]0;owned\u{7}Lon\u{202e}don\r\nX-Evil: 1".into();
    said["weather"][0]["description"] = "\u{9b}31m\u{2066}rain".into();
    said["sys"]["country"] = "\u{1b}[8mGB".into();
    let card = card_of(&said, Units::Metric);
    assert!(card.starts_with("[2J]0;ownedLondon X-Evil: 1, [8mGB\n"), "{card:?}");
    harmless(&card);
}

/// A card that a terminal shows as it is.
fn harmless(card: &str) {
    let lines: Vec<_> = card.lines().collect();
    assert!((2..=MAX_LINES).contains(&lines.len()) && card.ends_with('\n'), "{card:?}");
    // Shorter than what is ever compressed, so that there is one form and one tag.
    assert!(card.len() < 1_024, "{} bytes: {card:?}", card.len());
    for line in lines {
        assert!(columns(line) <= COLUMNS && line == line.trim_end() && !line.is_empty(), "{line:?}");
        assert!(!line.chars().any(controls), "{line:?}");
    }
}

/// Anything that JSON can say, with texts that are out for trouble.
fn anything() -> impl Strategy<Value = Value> {
    let text = prop_oneof![any::<String>(), "(\u{1b}\\[[0-9;]*[A-Za-z]|\u{202e}|\u{9b}|東|é|\\PC){0,80}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-400.0..400.0).prop_map(Value::from),
        (0_i64..2_000_000_000).prop_map(Value::from),
        (200_u64..900).prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..4)
                .prop_map(|members| Value::from(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// The members that a card is made of.
const MEMBERS: [&str; 20] = [
    "/name",
    "/coord",
    "/coord/lat",
    "/coord/lon",
    "/weather",
    "/weather/0",
    "/weather/0/id",
    "/weather/0/description",
    "/weather/0/icon",
    "/main",
    "/main/temp",
    "/main/feels_like",
    "/main/humidity",
    "/main/pressure",
    "/wind/speed",
    "/wind/deg",
    "/visibility",
    "/sys/country",
    "/sys/sunrise",
    "/timezone",
];

proptest! {
    #[test]
    fn any_json_value_gives_a_card_that_does_nothing(said in anything(), units in 0_usize..3) {
        harmless(&card_of(&said, Units::ALL[units]));
    }

    #[test]
    fn any_member_may_say_anything(
        members in prop::collection::vec((0..MEMBERS.len(), anything()), 1..6),
        units in 0_usize..3,
    ) {
        let mut said = london();
        for (member, value) in members {
            if let Some(place) = said.pointer_mut(MEMBERS[member]) {
                *place = value;
            }
        }
        harmless(&card_of(&said, Units::ALL[units]));
    }

    #[test]
    fn any_bytes_give_a_card(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        harmless(&card(&bytes, Units::Metric));
    }
}
