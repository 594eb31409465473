// What the scenarios in JavaScript share; the settings and the lines are those of scenarios.py.
"use strict";

const { OPENWEATHERMAP: root, KEY: key, WRONG_KEY: wrongKey, LIMITED_KEY: limitedKey, NOW, ONLY } = process.env;

// One after the other, as `call` gives values or promises of them.
async function run(scenarios) {
  for (const [kind, name, call] of scenarios) {
    if ((ONLY ?? kind) !== kind) continue;
    let result;
    try {
      result = { value: (await call()) ?? null };
    } catch (error) {
      result = { error: { class: error.constructor.name, message: error.message } };
    }
    console.log(JSON.stringify({ kind, name, ...result }));
  }
}

const answer = (name, call) => ["answer", name, call];
const failure = (name, call) => ["error", name, call];
const limit = (name, call) => ["limit", name, call];
const closed = (name, call) => ["closed", name, call];

module.exports = { root, key, wrongKey, limitedKey, now: Number(NOW), run, answer, failure, limit, closed };
