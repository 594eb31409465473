'use strict';
// A client of /weather/{location} like any other. What is asked for stands behind the # of the address, which no server and
// no Referer ever gets; texts of others become text, never markup; nothing is stored.
(() => {
  const SVG = 'http://www.w3.org/2000/svg';
  const UNITS = ['metric', 'imperial', 'standard'];
  const DEGREES = { metric: '°C', imperial: '°F', standard: 'K' };
  const METRES_PER_SECOND = { metric: 1, imperial: 0.44704, standard: 1 };
  // Beaufort's scale: below so many m/s it is called so.
  const BEAUFORT = [[0.5, 'calm'], [1.6, 'light air'], [3.4, 'light breeze'], [5.5, 'gentle breeze'],
    [8, 'moderate breeze'], [10.8, 'fresh breeze'], [13.9, 'strong breeze'], [17.2, 'near gale'], [20.8, 'gale'],
    [24.5, 'strong gale'], [28.5, 'storm'], [32.7, 'violent storm'], [Infinity, 'hurricane']];
  const COMPASS = ['north', 'north-east', 'east', 'south-east', 'south', 'south-west', 'west', 'north-west'];
  const LONGEST_WAIT_MS = 30_000;
  const LOG_LINES = 6;

  // What the codes of errors mean to a person; of others the service's own words are shown.
  const TROUBLE = {
    'unknown-location': ['No such place', 'OpenWeatherMap does not know this place. A country may help, as in London,GB.'],
    'invalid-location': ['That does not look like a place'],
    'invalid-key': ['This key is not accepted'],
    'expired-key': ['The time of this key is over'],
    'rate-limited': ['That was often', 'You have asked as often as you may for now.'],
    'overloaded': ['Very busy', 'Too many others are waiting. Places that were asked for before are still answered.'],
    'no-upstream-key': ['No key for OpenWeatherMap yet', 'Whoever runs this service has to give it one.'],
    'upstream-budget-exhausted': ['No calls are left', 'OpenWeatherMap has been asked as often as the plan allows for now. Places that were asked for before are still answered.'],
    'upstream-unavailable': ['OpenWeatherMap cannot be reached'],
    'upstream-timeout': ['OpenWeatherMap did not answer in time'],
    'upstream-failed': ['OpenWeatherMap has a problem'],
    'upstream-invalid-response': ['OpenWeatherMap sent something that is not weather'],
    'upstream-rejected-key': ['OpenWeatherMap refuses this service’s key', 'Whoever runs this service has to replace it.'],
    'internal': ['The service made a mistake'],
  };

  const at = (id) => document.getElementById(id);
  // What has not changed is not touched: a screen reader would read it again.
  const say = (id, words) => { if (at(id).textContent !== words) at(id).textContent = words; };
  const show = (id, shown) => { at(id).hidden = !shown; };
  const number = (value) => (typeof value === 'number' && Number.isFinite(value) ? value : null);
  const text = (value) => (typeof value === 'string' ? value.slice(0, 200) : '');
  const rounded = (value, digits = 0) => value.toFixed(digits).replace(/^-(?=0(\.0+)?$)/, '').replace('-', '−');
  const now = () => performance.now();

  /** Bodies by address, for questions with If-None-Match. */
  const known = new Map();
  /** A consumer key, here and nowhere else. */
  let key = '';
  /** The address whose weather is on the page. */
  let shown = '';
  let asking = null;
  let failures = 0;
  /** When freshness ends, on the clock of this page; `whole` is all of it, in seconds. */
  let fresh = null;
  /** Until when not to ask. */
  let wait = null;

  // ---- The question: #place?units=…

  function question() {
    const raw = location.hash.slice(1);
    const cut = raw.lastIndexOf('?units=');
    const units = cut < 0 ? 'metric' : raw.slice(cut + 7);
    let place = cut < 0 ? raw : raw.slice(0, cut);
    try { place = decodeURIComponent(place); } catch { /* It was typed like this. */ }
    return { place: place.trim(), units: UNITS.includes(units) ? units : 'metric' };
  }

  const chosenUnits = () => document.querySelector('input[name=units]:checked').value;

  function go(place, units) {
    const before = location.hash;
    // Half a character cannot be encoded.
    const encoded = encodeURIComponent(place.replace(/\p{Surrogate}/gu, '')).replaceAll('%2C', ',');
    location.hash = encoded + (units === 'metric' || !encoded ? '' : `?units=${units}`);
    // The same question again is no change of the address.
    if (location.hash === before) ask();
  }

  // ---- Asking

  async function ask({ conditional = false } = {}) {
    asking?.abort();
    // Whatever becomes of it now is of no interest.
    asking = null;
    delete document.body.dataset.busy;
    const { place, units } = question();
    at('place').value = place;
    at('units').querySelector(`[value=${units}]`).checked = true;
    wait = null;
    if (!place) return welcome();
    // An address with this for its last part would lead elsewhere.
    if (/^\.+$/.test(place)) return trouble({ status: 400, code: 'invalid-location', detail: 'A place has letters or numbers.' }, '');

    const address = `weather/${encodeURIComponent(place)}?units=${units}`;
    const before = known.get(address);
    const headers = { Accept: 'application/json' };
    if (key) headers['X-API-Key'] = key;
    if (conditional && before) headers['If-None-Match'] = before.etag;

    const controller = asking = new AbortController();
    const patience = setTimeout(() => controller.abort('patience'), LONGEST_WAIT_MS);
    document.body.dataset.busy = '';
    const began = now();
    try {
      // The browser's own cache would answer for the service.
      const response = await fetch(address, { headers, cache: 'no-store', signal: controller.signal });
      const bytes = await response.arrayBuffer();
      if (controller !== asking) return;
      failures = 0;
      const told = tell(response, bytes.byteLength, now() - began);
      if (response.status === 304 && before) return answered(address, place, units, before.weather, told);
      const body = parse(bytes);
      if (response.ok && body && typeof body.main === 'object') {
        known.set(address, { etag: told.etag, weather: body });
        return answered(address, place, units, body, told);
      }
      refused(response, body, told, address, place);
    } catch (error) {
      // A newer question has taken its place.
      if (controller !== asking) return;
      gone(address);
    } finally {
      clearTimeout(patience);
      if (controller === asking) {
        asking = null;
        delete document.body.dataset.busy;
      }
    }
  }

  function parse(bytes) {
    try { return JSON.parse(new TextDecoder().decode(bytes)); } catch { return null; }
  }

  /** What the headers say about how the answer came about. */
  function tell(response, bytes, took) {
    const header = (name) => response.headers.get(name) ?? '';
    const seconds = (value) => (/^-?\d+$/.test(value ?? '') ? Number(value) : null);
    const parts = (item) => Object.fromEntries(item.split(';').map((part) => {
      const [name, value = 'true'] = part.trim().split('=');
      return [name, value];
    }));
    const line = header('Cache-Status');
    // RFC 9211: each cache on the way adds itself.
    const status = parts(line.split(',').find((member) => member.trim().startsWith('stratus')) ?? '');
    const age = seconds(header('Age'));
    const ttl = seconds(status.ttl) ?? seconds(/max-age=(\d+)/.exec(header('Cache-Control'))?.[1]);
    const standing = { ...parts(header('RateLimit-Policy')), ...parts(header('RateLimit')) };
    return {
      line, status, age, ttl, standing, bytes, took,
      code: response.status,
      result: header('X-Cache'),
      etag: header('ETag'),
      id: header('X-Request-Id'),
      retryAfter: seconds(header('Retry-After')),
    };
  }

  // ---- Answers

  function answered(address, place, units, weather, told) {
    shown = address;
    for (const id of ['trouble', 'key', 'welcome']) show(id, false);
    show('answer', true);
    keepFocus();
    draw(weather, place, units);
    explain(weather, told);
    note(place, told);
    const heard = told.code === 304 ? 'Unchanged' : `${at('name').textContent}: ${at('temperature').textContent}, ${at('description').textContent}`;
    say('spoken', `${heard}. ${told.result}, ${at('left').textContent}`);
  }

  /** Focus must not vanish with what had it. */
  function keepFocus() {
    if (document.activeElement.checkVisibility()) return;
    ['again', 'retry', 'place'].map(at).find((next) => next.checkVisibility()).focus();
  }

  function welcome() {
    shown = '';
    fresh = null;
    for (const id of ['answer', 'trouble', 'key']) show(id, false);
    show('welcome', true);
    keepFocus();
    document.body.dataset.sky = '';
    document.title = 'Stratus';
  }

  function draw(weather, place, units) {
    const main = weather.main ?? {};
    const first = weather.weather?.[0] ?? {};
    const code = /^\d\d[dn]$/.test(first.icon) ? first.icon : '03d';
    const temperature = (value) => (number(value) === null ? '–' : `${rounded(value)} ${DEGREES[units]}`);
    const name = [text(weather.name) || place, text(weather.sys?.country)].filter(Boolean).join(', ');
    document.body.dataset.sky = sky(code);
    icon(code);
    say('name', name);
    say('degrees', number(main.temp) === null ? '–' : rounded(main.temp));
    say('scale', DEGREES[units]);
    const described = Array.isArray(weather.weather) ? weather.weather.map((one) => text(one?.description)).filter(Boolean) : [];
    say('description', described.join(', ') || '–');
    say('feels', number(main.feels_like) === null ? '' : `Feels like ${temperature(main.feels_like)}`);
    show('simulated', weather.base === 'simulated');
    document.title = `${at('temperature').textContent} ${name} – Stratus`;
    wind(weather.wind ?? {}, units);
    sun(weather);
    air(weather, units);
  }

  function sky(code) {
    const kind = { '01': 'clear', '02': 'clear', '03': 'clouds', '04': 'clouds', '09': 'rain', 10: 'rain', 11: 'thunder', 13: 'snow', 50: 'mist' };
    return `${kind[code.slice(0, 2)] ?? 'clouds'}-${code[2] === 'n' ? 'night' : 'day'}`;
  }

  /** Draws OpenWeatherMap's icon of this code our own way. */
  function icon(code) {
    const light = code[2] === 'n' ? 'moon' : 'sun';
    const layers = {
      '01': light === 'sun' ? [[light, 0, 0, 96]] : [[light, 0, 0, 96], ['stars', 0, 0, 96]],
      '02': [[light, 36, 0, 58], ['cloud', 0, 8, 88]],
      '03': [['cloud', 0, -8, 96]],
      '04': [['cloud-dark', 26, -6, 68], ['cloud', -2, 4, 90]],
      '09': [['cloud-dark', 0, -14, 96], ['drizzle', 0, -6, 96]],
      10: [[light, 42, 0, 50], ['cloud-dark', 0, -10, 92], ['rain', 0, -2, 92]],
      11: [['cloud-dark', 0, -14, 96], ['bolt', 0, -2, 96]],
      13: [['cloud', 0, -14, 96], ['snow', 0, -2, 96]],
      50: [['mist', 0, 0, 96]],
    }[code.slice(0, 2)] ?? [['cloud', 0, -8, 96]];
    at('icon').replaceChildren(...layers.map(([symbol, x, y, size]) => {
      const use = document.createElementNS(SVG, 'use');
      for (const [name, value] of Object.entries({ href: `#${symbol}`, x, y, width: size, height: size })) use.setAttribute(name, value);
      return use;
    }));
  }

  function wind({ speed, deg, gust }, units) {
    const unit = units === 'imperial' ? 'mph' : 'm/s';
    const blows = number(speed);
    const from = number(deg);
    say('wind-speed', blows === null ? '–' : `${rounded(blows, 1)} ${unit}`);
    const words = [];
    if (blows !== null) words.push(BEAUFORT.find(([below]) => blows * METRES_PER_SECOND[units] < below)[1]);
    if (from !== null) words.push(`from the ${COMPASS[Math.round((((from % 360) + 360) % 360) / 45) % 8]}`);
    if (number(gust) !== null) words.push(`gusts of ${rounded(gust, 1)} ${unit}`);
    say('wind-words', words.join(', '));
    // deg is where it comes from; the arrow points to where it goes, as it is drawn for wind from the north.
    at('arrow').setAttribute('transform', `rotate(${from ?? 0} 40 40)`);
    at('arrow').setAttribute('visibility', from === null ? 'hidden' : 'visible');
  }

  function sun({ dt, sys, timezone }) {
    const offset = number(timezone) ?? 0;
    const clock = (seconds) => new Date((seconds + offset) * 1000).toISOString().slice(11, 16);
    const valid = (seconds) => number(seconds) !== null && seconds > 0 && seconds < 253_402_300_799;
    const [rise, set] = [sys?.sunrise, sys?.sunset];
    const both = valid(rise) && valid(set) && set > rise;
    say('sunrise', both ? clock(rise) : '–');
    say('sunset', both ? clock(set) : '–');
    at('arc').classList.toggle('none', !both);
    const minutes = Math.abs(offset / 60);
    const zone = `UTC${offset < 0 ? '−' : '+'}${Math.floor(minutes / 60)}${minutes % 60 ? `:${String(minutes % 60).padStart(2, '0')}` : ''}`;
    say('observed', valid(dt) ? `Observed at ${clock(dt)} local time (${zone})` : '');
    if (!both) return say('sun-words', 'No sunrise or sunset is known for today.');
    const part = valid(dt) ? (dt - rise) / (set - rise) : -1;
    const up = part >= 0 && part <= 1;
    const angle = Math.PI * (1 - Math.min(Math.max(part, 0), 1));
    at('sun-dot').setAttribute('cx', 100 + 80 * Math.cos(angle));
    at('sun-dot').setAttribute('cy', up ? 70 - 60 * Math.sin(angle) : 78);
    at('arc').classList.toggle('down', !up);
    // The arc is an ellipse: how much of its length lies behind the sun is near enough the share of the angle.
    at('arc').querySelector('.done').setAttribute('stroke-dasharray', `${up ? part * 100 : 0} 200`);
    const long = Math.round((set - rise) / 60);
    say('sun-words', `${up ? 'The sun is up' : 'The sun is down'}; ${Math.floor(long / 60)} h ${long % 60} min of daylight.`);
  }

  function air({ main, visibility, clouds, rain, snow }, units) {
    const with_ = (value, unit) => (number(value) === null ? '–' : `${rounded(value)} ${unit}`);
    say('humidity', with_(main?.humidity, '%'));
    say('pressure', with_(main?.pressure, 'hPa'));
    say('clouds', with_(clouds?.all, '%'));
    const metres = number(visibility);
    const far = units === 'imperial' ? [1609.344, 'mi'] : [1000, 'km'];
    say('visibility', metres === null ? '–' : `${metres >= 10_000 ? 'over ' : ''}${rounded(metres / far[0], metres < far[0] * 9.95 ? 1 : 0)} ${far[1]}`);
    const [name, fallen] = snow ? ['Snow', snow] : ['Rain', rain ?? {}];
    const hours = ['1h', '3h'].find((hours) => number(fallen[hours]) !== null);
    show('fallen-row', hours !== undefined);
    say('fallen-name', name);
    say('fallen', hours ? `${rounded(fallen[hours], 1)} mm in ${hours[0]} h` : '');
  }

  // ---- How it came about

  function explain(weather, told) {
    const { status, result, ttl, age } = told;
    const level = status.hit ? (status.detail ?? '') : 'source';
    const source = weather.base === 'simulated' ? 'The simulated OpenWeatherMap' : 'OpenWeatherMap';
    const words = [];
    if (told.code === 304) words.push('Unchanged: your copy is still the newest, so 0 bytes were sent.');
    if (result === 'STALE') words.push('A copy that is a little old, given at once. A new one is fetched behind it as soon as that is possible.');
    else if (level === 'memory') words.push(`From this service’s memory. ${source} was not asked.`);
    else if (level === 'redis') words.push(`From Redis, where it lies sealed. ${source} was not asked.`);
    else if (status.fwd === 'stale') words.push(`The copy had run out, so ${source} was asked again.`);
    else if (status.fwd) words.push(`${source} was asked${status.stored ? ', and the answer is kept for whoever asks next' : ''}.`);
    if (status.collapsed) words.push('Somebody else asked the same at this moment: one call answered both.');
    at('way').dataset.result = result;
    say('result', result || 'Answered');
    say('result-words', words.join(' '));
    for (const item of at('levels').children) {
      if (item.dataset.level === level) item.setAttribute('aria-current', 'true');
      else item.removeAttribute('aria-current');
    }
    fresh = ttl === null ? null : { until: now() + ttl * 1000, whole: Math.max(ttl, 0) + (age ?? 0), stale: ttl < 0 };
    say('age', age === null ? '–' : `${age} s since OpenWeatherMap was asked`);
    say('took', `${told.took < 10 ? rounded(told.took, 1) : rounded(told.took)} ms`);
    say('bytes', told.code === 304 ? 'unchanged, 0 bytes' : `${told.bytes} bytes`);
    const { q, r, t } = told.standing;
    say('limit', r === undefined ? 'none' : `${r}${q ? ` of ${q}` : ''} left for the next ${t ?? 60} s`);
    say('cache-status', told.line || '–');
    say('etag', told.etag || '–');
    say('request-id', told.id || '–');
    tick();
  }

  function note(place, told) {
    const line = document.createElement('li');
    for (const [name, words] of [['b', told.result || String(told.code)], ['span', place], ['span', `${rounded(told.took, told.took < 10 ? 1 : 0)} ms`], ['span', told.code === 304 ? 'unchanged, 0 bytes' : `${told.bytes} bytes`]]) {
      const part = document.createElement(name);
      part.textContent = words;
      line.append(part);
    }
    line.firstChild.className = (told.result || 'error').toLowerCase();
    at('log').prepend(line);
    while (at('log').children.length > LOG_LINES) at('log').lastChild.remove();
  }

  // ---- What goes wrong

  function refused(response, problem, told, address, place) {
    if (told.result) note(place, told);
    const code = text(problem?.code);
    if (['missing-key', 'invalid-key', 'expired-key', 'origin-not-allowed'].includes(code)) {
      const appears = at('key').hidden;
      show('key', true);
      if (appears) at('consumer-key').focus();
    }
    if (code === 'missing-key') {
      shown = '';
      for (const id of ['welcome', 'trouble', 'answer']) show(id, false);
      document.title = 'Consumer key – Stratus';
      return;
    }
    if (!code) problem = { title: 'That was not the service', detail: `Something between this page and the service answered with status ${response.status}.` };
    trouble({ ...problem, status: response.status, id: told.id, retryAfter: told.retryAfter }, address);
  }

  /** Nothing came back: it is asked again by itself, less and less often. */
  function gone(address) {
    failures += 1;
    const retryAfter = Math.min(2 ** failures, LONGEST_WAIT_MS / 1000);
    const title = 'The service does not answer';
    trouble({ title, detail: 'It may be starting again, or this device may be offline.', retryAfter, status: 0 }, address);
  }

  function trouble({ title, detail, code = '', status, id = '', retryAfter = null }, address) {
    const [heading, words] = TROUBLE[code] ?? [text(title) || 'That did not work'];
    const said = text(detail).replace(/^./, (letter) => letter.toUpperCase()).replace(/[^.!?]$/, '$&.');
    const before = shown !== '' && shown === address;
    if (!before) {
      shown = '';
      fresh = null;
      document.body.dataset.sky = '';
      document.title = `${heading} – Stratus`;
    }
    show('answer', before);
    show('welcome', false);
    show('trouble', true);
    say('trouble-title', heading);
    say('trouble-words', `${words ?? said}${before ? ' What you see below is from before.' : ''}`);
    say('trouble-detail', [code, status ? `HTTP ${status}` : '', id].filter(Boolean).join(' · '));
    // Asking again changes nothing about what was asked for.
    show('retry', ![400, 404, 401, 403].includes(status));
    keepFocus();
    wait = retryAfter === null ? null : { until: now() + Math.max(retryAfter, 1) * 1000, asks: status === 0 || status >= 500 };
    tick();
  }

  // ---- What changes by itself

  /** So many seconds, rounded up to what a person wants to know. */
  function span(seconds) {
    const [size, unit] = [[1, 's'], [60, 'min'], [3600, 'h'], [86_400, 'days']].findLast(([size]) => seconds >= 2 * size) ?? [1, 's'];
    return `${Math.ceil(seconds / size)} ${unit}`;
  }

  function tick() {
    if (fresh) {
      const left = Math.max(Math.ceil((fresh.until - now()) / 1000), 0);
      const share = fresh.whole > 0 ? Math.min(Math.max((fresh.until - now()) / 1000 / fresh.whole, 0), 1) : 0;
      at('bar').firstElementChild.style.transform = `scaleX(${share})`;
      at('bar').setAttribute('aria-valuemax', Math.max(fresh.whole, 1));
      at('bar').setAttribute('aria-valuenow', Math.min(left, fresh.whole));
      const over = fresh.stale ? 'Past its time' : 'Its time is over';
      say('left', left > 0 ? `Fresh for ${left} s more` : `${over}: the next question renews it`);
    }
    show('trouble-wait', wait !== null);
    if (!wait) return;
    const left = Math.ceil((wait.until - now()) / 1000);
    if (left > 0) return say('trouble-wait', `${wait.asks ? 'Asking' : 'You may ask'} again in ${span(left)}.`);
    if (!wait.asks) return say('trouble-wait', 'You may ask again now.');
    // Nobody looks: it can wait until somebody does.
    if (!document.hidden) ask();
  }

  at('search').addEventListener('submit', (event) => {
    event.preventDefault();
    // On a phone the keyboard would hide the answer.
    if (matchMedia('(pointer: coarse)').matches) at('place').blur();
    go(at('place').value.trim(), chosenUnits());
  });
  at('units').addEventListener('change', () => { if (question().place) go(question().place, chosenUnits()); });
  at('key').addEventListener('submit', (event) => {
    event.preventDefault();
    const typed = at('consumer-key').value.trim();
    // Anything else cannot be the value of a header, and none of our keys has it.
    if (!/^[!-~]+$/.test(typed)) {
      at('consumer-key').select();
      return trouble({ code: 'invalid-key', detail: 'A key is one word of letters, digits and signs.', status: 401 }, '');
    }
    key = typed;
    at('consumer-key').value = '';
    ask();
  });
  at('again').addEventListener('click', () => ask({ conditional: true }));
  at('retry').addEventListener('click', () => ask());
  addEventListener('hashchange', () => ask());
  addEventListener('online', () => { if (wait?.asks) ask(); });
  setInterval(tick, 500);
  ask();
})();
