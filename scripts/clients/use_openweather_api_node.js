// openweather-api-node against OPENWEATHERMAP.
"use strict";

const path = require("path");
const { root, key, wrongKey, limitedKey, now, run, answer, failure, limit } = require("./scenarios");

// Its package says which of its files may be required by name, and this is none of them; so by its path, and before the others.
const files = path.dirname(require.resolve("openweather-api-node"));
require(path.join(files, "constants.js")).API_ENDPOINT = root + "/";
const { OpenWeatherAPI } = require("openweather-api-node");

const DAY = 86400;
const at = (more) => new OpenWeatherAPI({ key, units: "metric", ...more });
const london = at({ locationName: "London,GB" });
const point = at({ coordinates: { lat: 51.51, lon: -0.13 } });

const answers = [
  answer("weather by name", () => london.getCurrent()),
  answer("weather by a name with an umlaut", () => at({ locationName: "München" }).getCurrent({ lang: "de" })),
  answer("weather by coordinates", () => point.getCurrent({ units: "imperial" })),
  answer("weather by postcode", () => at({ zipCode: "E14,GB" }).getCurrent()),
  answer("forecast", () => point.getForecast()),
  answer("forecast, cut", () => point.getForecast(3)),
  answer("minutes", () => point.getMinutelyForecast()),
  answer("hours", () => point.getHourlyForecast(5)),
  answer("days", () => point.getDailyForecast()),
  answer("today", () => point.getToday()),
  answer("alerts", async () => ({ alerts: await point.getAlerts() })),
  answer("everything", () => point.getEverything()),
  answer("weather of yesterday", () => point.getHistory((now - DAY) * 1000)),
  answer("air now", () => point.getCurrentAirPollution()),
  answer("air to come", () => point.getForecastedAirPollution()),
  answer("air of yesterday", () => point.getHistoryAirPollution((now - DAY) * 1000, (now - DAY + 18000) * 1000)),
  answer("place by coordinates", () => point.getLocation()),
  answer("places by name", () => point.getAllLocations("London")),
];
const failures = [
  failure("unknown city", () => at({ locationName: "Atlantis" }).getCurrent()),
  failure("unknown city, by option", () => point.getCurrent({ locationName: "Atlantis" })),
  failure("unknown city, places", () => point.getAllLocations("Atlantis")),
  failure("unknown postcode", () => point.getCurrent({ zipCode: "00000,US" })),
];
for (const [told, name, other] of [[failure, "wrong key", wrongKey], [limit, "limit reached", limitedKey]]) {
  failures.push(
    told(name, () => point.getCurrent({ key: other })),
    told(`${name}, by name`, () => at({ locationName: "London,GB", key: other }).getCurrent()),
    told(`${name}, forecast`, () => point.getForecast(3, { key: other })),
    told(`${name}, everything`, () => point.getEverything({ key: other })),
    told(`${name}, places`, () => point.getAllLocations("London", { key: other })),
    told(`${name}, air`, () => point.getCurrentAirPollution({ key: other })),
  );
}
run([...answers, ...failures]);
