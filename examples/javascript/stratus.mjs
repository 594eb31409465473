// A client of Stratus for browsers and Node 18 or newer, with nothing but fetch.
//
//   import { Stratus } from "./stratus.mjs";
//   const { body, cache, freshSecs } = await new Stratus("http://localhost:3000").weather("London");

/** What went wrong, as the service says it. */
export class StratusError extends Error {
  /** @param {{ code?: string, status?: number, detail: string, retryAfterSecs?: number }} problem */
  constructor({ code, status, detail, retryAfterSecs }) {
    super(detail);
    this.name = "StratusError";
    /** Never changes, so programs can compare it: `unknown-location`, `rate-limited`, … */
    this.code = code;
    this.status = status;
    /** After how many seconds it is worth asking again, if that is known. */
    this.retryAfterSecs = retryAfterSecs;
  }
}

const sleep = (secs) => new Promise((wake) => setTimeout(wake, secs * 1000));

export class Stratus {
  #base;
  #key;
  #timeoutMs;
  #patienceSecs;
  // The last answer to each address, with its tag.
  #known = new Map();

  /**
   * @param {string} base where the service is
   * @param {{ key?: string, timeoutMs?: number, patienceSecs?: number }} options `key` is a consumer key; `timeoutMs` is for
   *   one request; a `Retry-After` up to `patienceSecs` is waited for, once
   */
  constructor(base, { key, timeoutMs = 5000, patienceSecs = 5 } = {}) {
    this.#base = base.replace(/\/+$/, "");
    this.#key = key;
    this.#timeoutMs = timeoutMs;
    this.#patienceSecs = patienceSecs;
  }

  /** The weather of now at a place: `London`, `London,GB`, `51.51,-0.13`, `id:2643743`, `zip:94040,US`. */
  weather(place, { units = "metric", lang } = {}) {
    return this.#get("weather", place, { units, lang });
  }

  /** Five days, every three hours. */
  forecast(place, { units = "metric", lang, cnt } = {}) {
    return this.#get("forecast", place, { units, lang, cnt });
  }

  /** What is in the air. */
  air(place) {
    return this.#get("air", place, {});
  }

  async #get(what, place, parameters) {
    const said = Object.entries(parameters).filter(([, value]) => value !== undefined);
    const query = new URLSearchParams(said).toString();
    const url = `${this.#base}/${what}/${encodeURIComponent(place)}${query && `?${query}`}`;
    let response = await this.#ask(url);
    const waitSecs = Number(response.headers.get("Retry-After") ?? Infinity);
    if ([429, 503].includes(response.status) && waitSecs <= this.#patienceSecs) {
      await sleep(waitSecs);
      response = await this.#ask(url);
    }
    return this.#read(url, response);
  }

  #ask(url) {
    const headers = {};
    if (this.#key) headers["X-API-Key"] = this.#key;
    const known = this.#known.get(url);
    // The service answers 304 without a body if we have the latest already.
    if (known) headers["If-None-Match"] = known.etag;
    return fetch(url, { headers, signal: AbortSignal.timeout(this.#timeoutMs) }).catch((error) => {
      throw new StratusError({ detail: `the service cannot be reached: ${error.cause?.message ?? error.message}` });
    });
  }

  async #read(url, response) {
    if (response.status !== 304 && !response.ok) throw await problem(response);
    const body = response.status === 304 ? this.#known.get(url).body : await response.json();
    const etag = response.headers.get("ETag");
    if (etag) this.#known.set(url, { etag, body });
    const freshSecs = Number(/max-age=(\d+)/.exec(response.headers.get("Cache-Control") ?? "")?.[1] ?? 0);
    return { body, cache: response.headers.get("X-Cache"), freshSecs };
  }
}

async function problem(response) {
  const retryAfter = response.headers.get("Retry-After");
  // A proxy on the way may answer in its own words.
  const said = await response.json().catch(() => ({}));
  return new StratusError({
    code: said.code,
    status: response.status,
    detail: said.detail ?? `the service answered with status ${response.status}`,
    retryAfterSecs: retryAfter === null ? undefined : Number(retryAfter),
  });
}
