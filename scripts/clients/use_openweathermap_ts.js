// openweathermap-ts against OPENWEATHERMAP. It gives the body of an error as if it were weather.
"use strict";

const { root, key, wrongKey, limitedKey, run, answer, failure, limit } = require("./scenarios");
const { default: OpenWeatherMap } = require("openweathermap-ts");

function client(apiKey, more = {}) {
  const client = new OpenWeatherMap({ apiKey, units: "metric", ...more });
  client.BASE_URL = root + "/data/2.5/";
  return client;
}

const ours = client(key);
const london = { cityName: "London", countryCode: "GB" };
const munich = { cityName: "München", countryCode: "DE" };
run([
  answer("weather by name", () => ours.getCurrentWeatherByCityName(london)),
  answer("weather by a name with an umlaut", () => client(key, { language: "de" }).getCurrentWeatherByCityName(munich)),
  answer("weather by id", () => client(key, { units: "imperial" }).getCurrentWeatherByCityId(2643743)),
  answer("weather by coordinates", () => ours.getCurrentWeatherByGeoCoordinates(51.51, -0.13)),
  answer("weather by postcode", () => ours.getCurrentWeatherByZipcode(97201, "us")),
  answer("forecast by name", () => ours.getThreeHourForecastByCityName(london)),
  answer("forecast by id", () => ours.getThreeHourForecastByCityId(2643743)),
  answer("forecast by coordinates", () => ours.getThreeHourForecastByGeoCoordinates(51.51, -0.13)),
  answer("forecast by postcode", () => ours.getThreeHourForecastByZipcode(97201, "us")),
  failure("unknown city", () => ours.getCurrentWeatherByCityName({ cityName: "Atlantis" })),
  failure("unknown city, forecast", () => ours.getThreeHourForecastByCityName({ cityName: "Atlantis" })),
  failure("wrong latitude", () => ours.getCurrentWeatherByGeoCoordinates(91, 1)),
  failure("wrong longitude", () => ours.getThreeHourForecastByGeoCoordinates(1, 181)),
  failure("wrong key", () => client(wrongKey).getCurrentWeatherByCityName(london)),
  failure("wrong key, forecast", () => client(wrongKey).getThreeHourForecastByCityName(london)),
  limit("limit reached", () => client(limitedKey).getCurrentWeatherByCityName(london)),
  limit("limit reached, forecast", () => client(limitedKey).getThreeHourForecastByCityName(london)),
]);
