//! Answers as they look, made up for the document.

use serde_json::{Value, json};

use crate::weather::{Endpoint, Shape};

/// An answer of an endpoint, where a whole one helps.
pub(super) fn of(endpoint: &Endpoint) -> Option<Value> {
    match (endpoint.name, endpoint.shape) {
        ("weather", _) => Some(weather()),
        ("forecast", _) => Some(forecast()),
        ("air" | "air forecast" | "air history", _) => Some(air()),
        ("place by name" | "place by point", Shape::Array) => Some(json!([place()])),
        ("place by zip", _) => {
            Some(json!({"zip": "E14", "name": "London", "lat": 51.4969, "lon": -0.0087, "country": "GB"}))
        }
        _ => None,
    }
}

/// The card in plain text. Its wording is not promised.
pub(super) const CARD: &str = "London, GB\nscattered clouds, 12.3 °C, feels like 11.6 °C\n";

fn weather() -> Value {
    json!({
        "coord": {"lon": -0.1257, "lat": 51.5085},
        "weather": [{"id": 802, "main": "Clouds", "description": "scattered clouds", "icon": "03d"}],
        "base": "stations",
        "main": {
            "temp": 12.3, "feels_like": 11.6, "temp_min": 11.2, "temp_max": 13.4, "pressure": 1016, "humidity": 76,
            "sea_level": 1016, "grnd_level": 1012
        },
        "visibility": 10000,
        "wind": {"speed": 4.1, "deg": 240, "gust": 7.7},
        "clouds": {"all": 40},
        "dt": 1_772_366_400,
        "sys": {"country": "GB", "sunrise": 1_772_347_500, "sunset": 1_772_386_800},
        "timezone": 0,
        "id": 2_643_743,
        "name": "London",
        "cod": 200
    })
}

fn forecast() -> Value {
    json!({
        "cod": "200",
        "message": 0,
        "cnt": 1,
        "list": [{
            "dt": 1_772_377_200,
            "main": {"temp": 12.9, "feels_like": 12.1, "temp_min": 12.4, "temp_max": 12.9, "pressure": 1015, "humidity": 72},
            "weather": [{"id": 500, "main": "Rain", "description": "light rain", "icon": "10d"}],
            "clouds": {"all": 80},
            "wind": {"speed": 4.6, "deg": 235, "gust": 8.2},
            "visibility": 10000,
            "pop": 0.45,
            "rain": {"3h": 0.3},
            "sys": {"pod": "d"},
            "dt_txt": "2026-03-01 15:00:00"
        }],
        "city": {
            "id": 2_643_743, "name": "London", "coord": {"lat": 51.5085, "lon": -0.1257}, "country": "GB",
            "timezone": 0, "sunrise": 1_772_347_500, "sunset": 1_772_386_800
        }
    })
}

fn air() -> Value {
    json!({
        "coord": {"lon": -0.13, "lat": 51.51},
        "list": [{
            "dt": 1_772_366_400,
            "main": {"aqi": 2},
            "components": {
                "co": 201.9, "no": 0.1, "no2": 8.4, "o3": 68.7, "so2": 1.2, "pm2_5": 5.3, "pm10": 8.1, "nh3": 0.9
            }
        }]
    })
}

fn place() -> Value {
    json!({"name": "London", "lat": 51.5073, "lon": -0.1276, "country": "GB", "state": "England"})
}
