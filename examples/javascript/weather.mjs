// Prints the weather of a place: node weather.mjs London
//
// STRATUS_URL says where the service is (http://localhost:3000), STRATUS_KEY is a consumer key, if one is needed.

import { Stratus } from "./stratus.mjs";

const place = process.argv[2] ?? "London";
const stratus = new Stratus(process.env.STRATUS_URL ?? "http://localhost:3000", { key: process.env.STRATUS_KEY });

try {
  const { body, cache, freshSecs } = await stratus.weather(place);
  const sky = body.weather[0].description;
  console.log(`${body.name || place}: ${body.main.temp.toFixed(1)} °C, ${sky} (${cache}, ${freshSecs} s fresh)`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
