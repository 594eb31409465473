// openweather-apis against OPENWEATHERMAP. It keeps its address to itself and asks by Node's http, which is told where that is.
"use strict";

const http = require("http");
const { root, key, wrongKey, limitedKey, run, answer, failure, limit, closed } = require("./scenarios");

const { hostname, port } = new URL(root);
const get = http.get;
http.get = (options, heard) => get({ ...options, host: hostname, port }, heard);
const weather = require("openweather-apis");

weather.setLang("it");
weather.setUnits("metric");

// `call` of the client with its callback, for a place and a key.
function ask(appid, place, call) {
  weather.setAPPID(appid);
  weather.setCity(place.city ?? "");
  weather.setCityId(place.id);
  weather.setCoordinate(place.lat, place.lon);
  weather.setZipCode(place.zip);
  return new Promise((resolve, reject) => {
    // The calls for one value take an error's body apart as if it were weather, where nobody can catch what comes of it.
    process.once("uncaughtException", reject);
    call((error, value) => (error ? reject(error) : resolve(value)));
  }).finally(() => process.removeAllListeners("uncaughtException"));
}

const london = { city: "London,GB" };
const point = { lat: 51.51, lon: -0.13 };
const all = (heard) => weather.getAllWeather(heard);
const forecast = (heard) => weather.getWeatherForecast(heard);
run([
  answer("temperature", () => ask(key, london, (heard) => weather.getTemperature(heard))),
  answer("pressure", () => ask(key, london, (heard) => weather.getPressure(heard))),
  answer("humidity", () => ask(key, london, (heard) => weather.getHumidity(heard))),
  answer("description", () => ask(key, london, (heard) => weather.getDescription(heard))),
  answer("summary", () => ask(key, london, (heard) => weather.getSmartJSON(heard))),
  answer("weather by name", () => ask(key, london, all)),
  answer("weather by a name with an umlaut", () => ask(key, { city: "München" }, all)),
  answer("weather by id", () => ask(key, { id: 2643743 }, all)),
  answer("weather by coordinates", () => ask(key, point, all)),
  answer("weather by postcode", () => ask(key, { zip: "97201,us" }, all)),
  answer("forecast", () => ask(key, london, forecast)),
  answer("forecast for days", () => ask(key, london, (heard) => weather.getWeatherForecastForDays(3, heard))),
  answer("forecast for hours", () => ask(key, london, (heard) => weather.getWeatherForecastForHours(5, heard))),
  closed("One Call 2.5", () => ask(key, point, (heard) => weather.getWeatherOneCall(heard))),
  failure("unknown city", () => ask(key, { city: "Atlantis" }, all)),
  failure("unknown city, forecast", () => ask(key, { city: "Atlantis" }, forecast)),
  failure("unknown city, temperature", () => ask(key, { city: "Atlantis" }, (heard) => weather.getTemperature(heard))),
  failure("no city", () => ask(key, { city: "" }, all)),
  failure("wrong key", () => ask(wrongKey, london, all)),
  failure("wrong key, summary", () => ask(wrongKey, london, (heard) => weather.getSmartJSON(heard))),
  limit("limit reached", () => ask(limitedKey, london, all)),
  limit("limit reached, forecast", () => ask(limitedKey, london, forecast)),
]);
