'use strict';
// Shows what GET events says, once a second. The stream is read with fetch: EventSource cannot send the token.
const el = (id) => document.getElementById(id);
const SVG = 'http://www.w3.org/2000/svg';
const MINUTES_SHOWN = 5;
// Without an event for so long (milliseconds) the stream is as good as gone.
const SILENCE = 15000;
const LONGEST_PAUSE = 30;
const DAY = 86400;

// --- Writing numbers

const number = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });
const count = (value) => number.format(value);
const precise = (value) => value === null ? '–' : value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : count(Math.round(value));
const percent = (ratio) => ratio === null ? '–' : (ratio * 100).toFixed(ratio >= 0.9995 || ratio === 0 ? 0 : 1);
const bytes = (value) => value < 1024 ? `${value} B` : value < 1048576 ? `${precise(value / 1024)} KiB` : `${precise(value / 1048576)} MiB`;
const millis = (value) => value === null ? '–' : value < 1000 ? `${precise(value)} ms` : `${precise(value / 1000)} s`;

function span(secs) {
  const units = [['d', DAY], ['h', 3600], ['min', 60], ['s', 1]];
  const first = units.findIndex(([, size]) => secs >= size);
  if (first < 0) return '0 s';
  const [name, size] = units[first];
  const next = units[first + 1];
  const rest = next && secs < 10 * size ? Math.floor(secs % size / next[1]) : 0;
  return `${Math.floor(secs / size)} ${name}` + (rest ? ` ${rest} ${next[0]}` : '');
}
const until = (secs) => secs > 0 ? `in ${span(secs)}` : 'has ended';
const nearEnd = (secs, bad, look) => secs < bad ? 'bad' : secs < look ? 'look' : 'good';

// --- Writing into the page: only what changed, and only ever text

function text(node, value) {
  const words = String(value);
  if (node.textContent !== words) node.textContent = words;
}
function level(node, value) {
  if (node.dataset.level !== value) node.dataset.level = value;
}
function make(name, className, ...children) {
  const node = document.createElement(name);
  if (className) node.className = className;
  node.append(...children);
  return node;
}
function drawn(name, attributes, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}
// A state in a word, a shape and a colour.
function state(node, value, word) {
  level(node, value);
  node.querySelector('use').setAttribute('href', `#shape-${value}`);
  if (word !== undefined) text(node.querySelector('span'), word);
}
// As many children as there are items; each is made once and filled again and again.
function fill(parent, items, create, update) {
  while (parent.childElementCount > items.length) parent.lastElementChild.remove();
  items.forEach((item, at) => {
    if (!parent.children[at]) parent.append(create());
    update(parent.children[at], item);
  });
}
const pair = () => make('div', '', make('dt'), make('dd'));
function pairs(id, items) {
  fill(el(id), items, pair, (row, [name, value, how]) => {
    text(row.firstChild, name);
    text(row.lastChild, value);
    level(row, how || 'good');
  });
}
const bar = () => drawn('svg', { class: 'bar', 'aria-hidden': 'true' },
  drawn('rect', { class: 'track', width: '100%', height: '100%' }), drawn('rect', { class: 'part', width: '0%', height: '100%' }));
const setBar = (node, part) => node.lastChild.setAttribute('width', `${(Math.min(Math.max(part, 0), 1) * 100).toFixed(1)}%`);

// --- Lines of the last minutes

const past = [];
function chart(id, lines, height) {
  const now = past[past.length - 1].at;
  const x = (at) => 300 - (now - at) / (MINUTES_SHOWN * 60000) * 300;
  const y = (value) => (39 - height(value) * 37).toFixed(1);
  const svg = el(id);
  const paths = lines.flatMap(([of, className], place) => {
    let path = '', before = null, begun = null, area = '';
    for (const point of past) {
      const value = of(point);
      // What was not seen is not drawn.
      const joins = value !== null && before !== null && point.at - before < 5000;
      before = value === null ? null : point.at;
      if (value === null) continue;
      const [left, up] = [x(point.at).toFixed(1), y(value)];
      path += `${joins ? 'L' : 'M'}${left} ${up}`;
      if (!joins && begun !== null) area += `V40H${begun}Z`;
      area += joins ? `L${left} ${up}` : `M${left} 40V${up}`;
      if (!joins) begun = left;
    }
    if (begun !== null) area += `V40H${begun}Z`;
    return place === 0 ? [['area', area], [className, path]] : [[className, path]];
  });
  fill(svg, paths, () => drawn('path', {}), (node, [className, path]) => {
    node.setAttribute('class', className);
    node.setAttribute('d', path);
  });
}
const largest = (of) => past.reduce((top, point) => Math.max(top, of(point) ?? 0), 0);

// --- What an operator has to know, the worst first. Numbers that change every second stay in their tiles, so that what is
// read aloud is news.

const PAUSED = {
  failing: ['OpenWeatherMap fails and is left alone for a while', 'run `stratus check`: it tells whether it is OpenWeatherMap or the way there. It is tried again by itself'],
  rate_limited: ['OpenWeatherMap says that the account makes too many calls', 'find what else uses the account, or lower upstream.budget_per_minute'],
  key_rejected: ['OpenWeatherMap refuses the last key', 'give one that works: `stratus credential put openweathermap`. It is tried at once'],
};
const CERTIFICATES = { https: 'HTTPS', redis_client: 'ours, for Redis', redis_authority: 'authority for Redis', redis_server: 'of Redis itself' };

function findings(now) {
  const found = [];
  const add = (how, what, fix) => found.push([how, what, fix]);
  const { store, upstream, traffic } = now;
  if (store.state === 'down') add('bad', `Redis is away: ${store.reason}`, store.fix);
  if (upstream.breaker.reason) add('bad', ...PAUSED[upstream.breaker.reason] ?? [upstream.breaker.reason, 'see docs/operations.md']);
  if (!upstream.key && !upstream.simulated) add('bad', 'There is no key of OpenWeatherMap: only copies are answered', '`stratus credential put openweathermap`');
  if (traffic.error_ratio > 0.05 && traffic.requests >= 60) add('bad', 'More than one request in twenty gets an error', 'stratus_cache_failures_total says why, and so does `code` in the log');
  for (const window of ['minute', 'day', 'month']) {
    const budget = upstream.budget[window];
    if (!budget || budget.left >= budget.limit / 10) continue;
    // A minute is over soon.
    if (window === 'minute' && budget.left) continue;
    const what = budget.left ? `Less than a tenth of the ${window}'s calls is left` : `The ${window}'s calls are used up`;
    add(budget.left ? 'look' : 'bad', what, 'make cache.fresh_secs longer, or take a larger plan and raise the budget');
  }
  for (const [name, secs] of Object.entries(now.certificates_end_in_secs)) {
    const how = nearEnd(secs, 2 * DAY, 14 * DAY);
    if (how !== 'good') add(how, `A certificate ${secs > 0 ? 'ends soon' : 'has ended'} (${CERTIFICATES[name] ?? name})`, 'renew it; new files are read within a second');
  }
  for (const [setting, file] of Object.entries(now.files)) {
    if (file.state !== 'in_use') add('look', `The new content of ${setting} is not used: ${file.reason}`, 'mend the file; it is read again within a second');
  }
  for (const credential of now.credentials) {
    if (credential.state === 'put_aside') add('look', `OpenWeatherMap refuses a key of the vault: ${credential.id}`, 'put another one with `stratus credential put`, or remove it');
    else if (credential.expires_in_secs < 3 * DAY) add('look', `A key of the vault ends soon: ${credential.id}`, 'put it again with `stratus credential put`');
  }
  if (now.consumers?.ending) add('look', 'A consumer is without a key soon, or already', 'give it a new one with `stratus consumer new`, or take it out of the file');
  const reasons = Object.keys(now.records_not_opened);
  if (reasons.length) add('look', `Records in the store do not open: ${reasons.join(', ')}`, 'each is only a miss; docs/operations.md tells the reasons apart');
  if (now.oldest_answer_age_secs > 1800) add('look', 'Answers are more than half an hour old', 'see the budget and OpenWeatherMap below');
  if (upstream.simulated) add('look', 'The weather is made up, because there is no key', 'set upstream.api_key and start again, unless that is what you want');
  if (now.stopping) add('look', 'This replica is stopping', 'nothing, if somebody has stopped it');
  return found.sort(([one], [other]) => (one === 'bad' ? 0 : 1) - (other === 'bad' ? 0 : 1));
}

function finding() {
  const shape = drawn('svg', { 'aria-hidden': 'true' }, drawn('use', {}));
  return make('li', '', shape, make('div', '', make('p', 'what'), make('p', 'fix')));
}

// Words in which what is typed stands between backticks.
function commands(node, words) {
  if (node.textContent === words.replaceAll('`', '')) return;
  node.replaceChildren(...words.split('`').map((part, at) => (at % 2 ? make('code', '', part) : part)));
}

function verdict(now) {
  const found = findings(now);
  const how = found.length ? found[0][0] : 'good';
  state(el('verdict'), how);
  text(el('verdict-word'), !found.length ? 'All is well' : found.length === 1 ? 'One thing needs you' : `${found.length} things need you`);
  fill(el('findings'), found, finding, (line, [how, what, fix]) => {
    level(line, how);
    line.querySelector('use').setAttribute('href', `#shape-${how}`);
    text(line.querySelector('.what'), what);
    commands(line.querySelector('.fix'), fix);
  });
  document.title = `${how === 'good' ? '' : `(${found.length}) `}Stratus: dashboard`;
}

// --- The tiles

const ANSWERS = [['hit_memory', 'from memory'], ['hit_redis', 'from the store'], ['stale', 'older copies'], ['negative', 'known as unknown'], ['collapsed', 'waited with another'], ['miss', 'loaded'], ['failed', 'not answered']];

function showTraffic({ traffic, upstream }) {
  const all = Object.values(traffic.answers).reduce((sum, value) => sum + value, 0);
  text(el('ratio'), percent(traffic.hit_ratio));
  pairs('answers', ANSWERS.map(([key, name]) => [name, count(traffic.answers[key] ?? 0), key === 'failed' && traffic.answers.failed > all / 20 ? 'bad' : 'good']));
  text(el('pace'), precise(traffic.requests_per_second));
  text(el('errors'), `${count(traffic.errors)}${traffic.error_ratio ? ` (${percent(traffic.error_ratio)} %)` : ''}`);
  level(el('errors').parentNode, traffic.error_ratio > 0.05 ? 'bad' : 'good');
  text(el('refused'), count(traffic.refused));
  text(el('in-flight'), count(traffic.in_flight));
  text(el('connections'), count(traffic.connections));
  text(el('waiting'), count(traffic.waiting));
  for (const part of ['p50', 'p90', 'p99']) text(el(part), millis(traffic.latency_ms[part]));
  text(el('p50-too'), millis(traffic.latency_ms.p50));
  text(el('calls'), count(traffic.upstream_calls));
  text(el('calls-failed'), count(traffic.upstream_calls_failed));
  level(el('calls-failed').parentNode, traffic.upstream_calls_failed ? 'look' : 'good');
  text(el('factor'), precise(upstream.adaptive_factor));

  chart('ratio-chart', [[(point) => point.ratio, 'line']], (ratio) => ratio);
  const pace = largest((point) => point.pace);
  chart('pace-chart', [[(point) => point.pace, 'line']], (value) => value / (pace || 1));
  text(el('pace-top'), `0 to ${pace ? precise(pace) : 1} a second, five minutes`);
  // Microseconds and seconds on one line: each step up is ten times as long.
  const steps = (value) => Math.log10(Math.max(value, 0.01) / 0.01);
  const slowest = Math.max(largest((point) => point.p99), 0.1);
  chart('latency-chart', [[(point) => point.p50, 'line'], [(point) => point.p90, 'line second'], [(point) => point.p99, 'line third']], (value) => steps(value) / steps(slowest));
  text(el('latency-top'), `0.01 to ${millis(slowest)}, logarithmic`);
}

function gauge() {
  const node = make('div', 'gauge', make('span', 'name'), make('span', 'left'), bar());
  node.setAttribute('role', 'meter');
  node.setAttribute('aria-valuemin', '0');
  return node;
}

function showUpstream({ upstream, oldest_answer_age_secs: oldest }) {
  const { breaker, budget } = upstream;
  const windows = ['minute', 'day', 'month'].filter((name) => budget[name]).map((name) => [name, budget[name]]);
  fill(el('budget'), windows, gauge, (node, [name, { limit, left }]) => {
    // Without the store a replica has a part of the minute to itself, and knows nothing of the rest.
    const own = name === 'minute' && budget.own_part_only;
    const words = own ? `${count(left)} left of its own part` : `${count(left)} of ${count(limit)} left`;
    level(node, !left ? 'bad' : own || left < limit / 10 ? 'look' : 'good');
    text(node.children[0], `this ${name}`);
    text(node.children[1], words);
    setBar(node.children[2], 1 - left / limit);
    node.setAttribute('aria-label', `Calls of this ${name}`);
    node.setAttribute('aria-valuemax', limit);
    node.setAttribute('aria-valuenow', limit - left);
    node.setAttribute('aria-valuetext', words);
  });
  const states = { admitting: ['good', 'Called as needed'], probing: ['look', 'Tried with one call'], rejecting: ['bad', 'Not called'] };
  state(el('breaker'), ...states[breaker.state] ?? ['look', breaker.state]);
  text(el('breaker-why'), breaker.reason ? PAUSED[breaker.reason]?.[0] ?? breaker.reason : '');
  text(el('retry'), breaker.retry_in_secs === undefined ? 'not needed' : until(breaker.retry_in_secs));
  text(el('key'), upstream.key ? 'there is one' : 'none');
  text(el('weather'), upstream.simulated ? 'SIMULATED' : 'real');
  level(el('weather').parentNode, upstream.simulated ? 'look' : 'good');
  text(el('oldest'), oldest ? span(oldest) : 'none that is late');
  level(el('oldest').parentNode, oldest > 1800 ? 'look' : 'good');
}

function showStore({ store, upstream, memory, records_not_opened: unopened }) {
  const name = store.kind === 'redis' ? 'Redis' : 'Memory';
  const states = { up: ['good', `${name}: up`], connecting: ['look', `${name}: connecting`], down: ['bad', `${name}: away`] };
  state(el('store'), ...states[store.state]);
  const share = upstream.budget.own_part_only ? 'Only this replica\'s own part of the budget can be used.' : '';
  text(el('store-why'), store.reason ? `${store.reason}. ${share}` : share);
  text(el('store-fix'), store.fix ?? '');
  text(el('entries'), count(memory.entries));
  text(el('bytes'), bytes(memory.bytes));
  const reasons = Object.entries(unopened);
  text(el('not-opened'), reasons.length ? reasons.map(([reason, times]) => `${reason}: ${count(times)}`).join(', ') : '0');
  level(el('not-opened').parentNode, reasons.length ? 'look' : 'good');
}

function row(cells) {
  return () => make('tr', '', ...cells.map((className, at) => {
    const cell = make(at ? 'td' : 'th', className);
    if (!at) cell.scope = 'row';
    return cell;
  }));
}

function showConsumers({ consumers }) {
  el('no-consumers').hidden = Boolean(consumers);
  el('consumers').parentNode.hidden = !consumers;
  text(el('consumers-known'), consumers ? `${count(consumers.known)} known${consumers.known > consumers.most.length ? `, the ${consumers.most.length} that ask most` : ''}` : '');
  const create = () => {
    const line = row(['', 'n', '', 'n', 'n'])();
    line.children[2].append(bar(), make('span', 'unseen'));
    return line;
  };
  fill(el('consumers').tBodies[0], consumers?.most ?? [], create, (line, consumer) => {
    const part = consumer.admitted / consumer.limit_per_minute;
    const [name, asked, share, refused, end] = line.children;
    text(name, consumer.name);
    text(asked, `${count(consumer.admitted)} / ${count(consumer.limit_per_minute)}`);
    setBar(share.firstChild, part);
    text(share.lastChild, `${percent(Math.min(part, 1))} %`);
    text(refused, count(consumer.refused));
    level(refused, consumer.refused ? 'look' : 'good');
    text(end, consumer.ends_in_secs === null ? 'never' : until(consumer.ends_in_secs));
    level(end, consumer.ends_in_secs === null ? 'good' : nearEnd(consumer.ends_in_secs, 1, 14 * DAY));
  });
}

function showHousekeeping(now) {
  fill(el('keys').tBodies[0], now.keys, row(['', '', 'n', 'n', 'n']), (line, key) => {
    const needed = key.last_record_ends_in_secs;
    const retire = key.seals ? 'not while it seals' : needed ? `in ${span(needed)}` : 'now';
    [key.id, key.seals ? 'seals and opens' : 'opens', count(key.records_sealed), count(key.records_opened), retire]
      .forEach((value, at) => text(line.children[at], value));
  });
  const certificates = Object.entries(now.certificates_end_in_secs);
  el('no-certificates').hidden = certificates.length > 0;
  pairs('certificates', certificates.map(([name, secs]) => [CERTIFICATES[name] ?? name, secs > 0 ? `ends ${until(secs)}` : 'has ended', nearEnd(secs, 2 * DAY, 14 * DAY)]));
  el('no-vault').hidden = now.credentials.length > 0;
  const states = { in_use: 'in use', put_aside: 'refused', unused: 'not used' };
  pairs('vault', now.credentials.map((credential) => [`${credential.id} (${credential.reference})`, `${states[credential.state]}, ends ${until(credential.expires_in_secs)}`, credential.state === 'put_aside' || credential.expires_in_secs < 3 * DAY ? 'look' : 'good']));
  const files = Object.entries(now.files);
  el('no-files').hidden = files.length > 0;
  pairs('files', files.map(([setting, file]) => [setting, file.state === 'in_use' ? 'in use' : 'new content refused', file.state === 'in_use' ? 'good' : 'look']));
}

function show(now) {
  const { traffic } = now;
  past.push({ at: Date.now(), ratio: traffic.hit_ratio, pace: traffic.requests_per_second, ...traffic.latency_ms });
  while (past[0].at < Date.now() - MINUTES_SHOWN * 60000) past.shift();
  el('board').hidden = false;
  el('door').hidden = true;
  text(el('version'), `version ${now.version}`);
  text(el('uptime'), `up for ${span(now.uptime_secs)}`);
  text(el('watched'), traffic.over_secs < 59 ? `watched for ${span(Math.floor(traffic.over_secs))}` : '');
  for (const part of [verdict, showTraffic, showUpstream, showStore, showConsumers, showHousekeeping]) part(now);
}

// --- The stream

// In this variable only: whoever reloads the page gives it again.
let token = '';
let failures = 0;
let waiting = 0;
let running = null;

function linked(how, words) {
  state(el('link'), how, words);
  text(el('link-wait'), '');
  el('now').hidden = how !== 'bad';
  el('board').classList.toggle('old', how !== 'good');
}

// Tries again after a pause that grows, and tells how long it takes.
function pause(words, least) {
  const secs = Math.max(least || 0, Math.min(2 ** failures++, LONGEST_PAUSE));
  const end = Date.now() + secs * 1000;
  linked('bad', words);
  clearInterval(waiting);
  const tick = () => {
    const left = Math.ceil((end - Date.now()) / 1000);
    if (left <= 0) connect();
    else text(el('link-wait'), `trying again in ${left} s`);
  };
  waiting = setInterval(tick, 500);
  tick();
}

function ask(fault) {
  linked('none', 'Waiting for the token');
  el('board').hidden = true;
  el('door').hidden = false;
  text(el('door-fault'), fault);
  el('token').focus();
}

async function connect() {
  clearInterval(waiting);
  running?.abort();
  const mine = running = new AbortController();
  let silence = 0;
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(() => mine.abort(), SILENCE);
  };
  try {
    heard();
    const headers = token ? { authorization: `Bearer ${token}` } : {};
    const response = await fetch('events', { headers, cache: 'no-store', signal: mine.signal });
    if (response.status === 401) {
      const fault = token ? 'That is not the token.' : '';
      token = '';
      return ask(fault);
    }
    if (!response.ok) {
      const problem = await response.json().catch(() => ({}));
      const wait = Number(response.headers.get('retry-after'));
      if (response.status === 429) {
        token = '';
        return ask(`Too many wrong tokens came from here: none is looked at for ${span(wait)}.`);
      }
      return pause(problem.detail ?? `The answer is ${response.status}`, wait);
    }
    await read(response.body.getReader(), heard);
    if (mine === running) pause('The stream has ended');
  } catch {
    if (mine === running) pause('Stratus does not answer');
  } finally {
    clearTimeout(silence);
  }
}

// Events end with an empty line; of each only the lines of data matter here.
async function read(reader, heard) {
  const decoder = new TextDecoder();
  let text = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    heard();
    text += decoder.decode(value, { stream: true });
    const events = text.split('\n\n');
    text = events.pop();
    for (const event of events) {
      const data = event.split('\n').filter((line) => line.startsWith('data: ')).map((line) => line.slice(6)).join('\n');
      if (!data) continue;
      show(JSON.parse(data));
      failures = 0;
      linked('good', 'Live');
    }
  }
}

el('door').addEventListener('submit', (event) => {
  event.preventDefault();
  token = el('token').value.trim();
  el('token').value = '';
  connect();
});
el('now').addEventListener('click', connect);
connect();
