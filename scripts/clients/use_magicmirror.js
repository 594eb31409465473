// The provider of MagicMirror's weather module against OPENWEATHERMAP, without the rest of that program. It asks One Call 3.0.
"use strict";

const { root, key, wrongKey, limitedKey, run, answer, failure, limit } = require("./scenarios");
// Found as the programs of MagicMirror find it, in a folder that scripts/test-clients names.
const Provider = require("openweathermap");

// What the module shows for this setting; of an error, what it is. How long it waits after one is between it and Retry-After.
function shown(config) {
  return new Promise((resolve, reject) => {
    const provider = new Provider({ apiBase: root + "/data/", lat: 51.51, lon: -0.13, apiKey: key, ...config });
    provider.setCallbacks(resolve, ({ status, errorType, translationKey, message }) => {
      reject(new Error(JSON.stringify({ status, errorType, translationKey, ...(status ? {} : { message }) })));
    });
    provider.initialize();
    provider.start();
  });
}

run([
  answer("current", () => shown({ type: "current" })),
  answer("hourly", () => shown({ type: "hourly", lang: "de" })),
  answer("forecast", () => shown({ type: "forecast" })),
  answer("daily, at sea", () => shown({ type: "daily", lat: -40.5, lon: -20.25 })),
  failure("wrong latitude", () => shown({ lat: 91 })),
  failure("wrong key", () => shown({ apiKey: wrongKey })),
  limit("limit reached", () => shown({ apiKey: limitedKey })),
]);
