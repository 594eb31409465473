# The programs of scripts/test-clients, their settings and their keys.
# shellcheck shell=bash disable=SC2154

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else echo "this needs root, and there is no sudo: run \`$*\` as root, then try again" >&2; return 1
  fi
}

need_tools() {
  local missing=()
  command -v curl >/dev/null || missing+=(curl)
  command -v jq >/dev/null || missing+=(jq)
  command -v node >/dev/null || missing+=(nodejs)
  command -v npm >/dev/null || missing+=(npm)
  python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
  [ ${#missing[@]} = 0 ] && return
  as_root apt-get update -q
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
}

# quietly COMMAND...: what it says is shown only if it fails.
quietly() { "$@" >"$work/quiet.log" 2>&1 || { tail -20 "$work/quiet.log" >&2; return 1; }; }

install_clients() {
  python3 -m venv "$work/venv"
  quietly timeout --foreground "$INSTALL_SECS" "$work/venv/bin/pip" install --quiet --no-cache-dir "${PYTHON_CLIENTS[@]}"
  # Where there is no such file npm takes a folder further up for the project.
  mkdir "$work/node"
  echo '{"private": true}' >"$work/node/package.json"
  quietly timeout --foreground "$INSTALL_SECS" npm install --prefix "$work/node" --cache "$work/npm" --no-audit --no-fund \
    --ignore-scripts "${NODE_CLIENTS[@]}" "${MAGICMIRROR_NEEDS[@]}"
  quietly timeout --foreground "$INSTALL_SECS" npm pack --cache "$work/npm" --pack-destination "$work" "$MAGICMIRROR"
  mkdir "$work/magicmirror"
  tar --extract --gzip --file "$work"/magicmirror-*.tgz --directory "$work/magicmirror" --strip-components 1
}

# await COMMAND...: until it succeeds.
await() {
  local deadline=$((SECONDS + START_SECS))
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.1
  done
}

# start NAME VARIABLE=VALUE... -- COMMAND...: with nothing of this environment but a PATH. Values may be keys, so they are no
# arguments of any program.
start() {
  local name=$1
  shift
  in_clean_environment "$@" >>"$work/$name.log" 2>&1 &
  pid[$name]=$!
}

# in_clean_environment VARIABLE=VALUE... -- COMMAND...: in place of the shell that runs this.
in_clean_environment() {
  local name
  for name in $(compgen -e); do export -n "${name?}"; done
  while [ "$1" != -- ]; do
    export "${1?}"
    shift
  done
  shift
  export PATH LC_ALL
  exec "$@"
}

# stop NAME
stop() {
  kill "${pid[$1]}"
  wait "${pid[$1]}" || true
  unset "pid[$1]"
}

# One that looks like those of the real service.
api_key() { head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n'; }

start_upstream() {
  start upstream DIRECT_KEY="$direct_key" STRATUS_KEY="$stratus_key" LIMITED_KEY="$limited_key" NOW="$now" "${spoil[@]}" -- \
    python3 -B "$HERE/upstream.py" "$work"
  : >"$work/calls.log"
  await test -s "$work/upstream.ports" || give_up "the scripted OpenWeatherMap starts"
  read -r 'port[upstream]' 'port[secure]' <"$work/upstream.ports"
}

# upstream_calls WHOSE...: how many calls OpenWeatherMap has had with those keys.
upstream_calls() { cut -d ' ' -f 1 "$work/calls.log" | grep -cFx "$(printf '%s\n' "$@")" || true; }

# write_settings NAME [LINE-OF-SERVER]...: `account` and `budget` are those of its section for upstream.
write_settings() {
  local name=$1
  shift
  (umask 077 && cat >"$work/$name.toml") <<TOML
[server]
listen = "127.0.0.1:0"
$(printf '%s\n' "$@")
[admin]
listen = "127.0.0.1:0"
[upstream]
base_url = "http://127.0.0.1:${port[upstream]}"
api_key = "${account:-$stratus_key}"
budget_per_minute = 100000
budget_per_day = ${budget:-0}
max_replicas = 1
[access]
required = true
consumers_file = "$work/consumers.toml"
[store]
backend = "memory"
[encryption]
keys = "1:$(head -c 32 /dev/urandom | base64)"
TOML
}

# start_stratus NAME: with the settings in NAME.toml, on a port that the system chooses.
start_stratus() {
  start "$1" -- "$program" serve --config "$work/$1.toml"
  await listens "$1" '"public":"127.0.0.1:' || give_up "$1 starts"
}

start_demo() {
  start demo -- "$program" demo --listen 127.0.0.1:0
  await listens demo 'curl -i localhost:' || give_up "stratus demo starts"
}

# listens NAME TEXT: its log tells its port after that text.
listens() {
  local found
  found=$(sed -n "s/.*$2\([0-9]*\).*/\1/p" "$work/$1.log" | head -n 1)
  [ -n "$found" ] && port[$1]=$found
}

# A consumer that may ask as often as it likes, and some with one request a minute: their keys, a line each.
make_consumers() {
  local number
  consumer_key=$(make_consumer clients 100000)
  for ((number = 1; number <= LIMITED_CONSUMERS; number++)); do
    make_consumer "limited-$number" 1
  done >"$work/limited-keys"
}

make_consumer() {
  "$program" consumer new "$1" --per-minute "$2" >"$work/consumer" 2>>"$work/consumers.log"
  tail -n +2 "$work/consumer" >>"$work/consumers.toml"
  head -n 1 "$work/consumer"
}

# use_up ROOT KEY PLACE: one question there.
use_up() {
  printf 'url = "%s/data/2.5/weather?q=%s&appid=%s"\n' "$1" "$3" "$2" |
    curl --silent --max-time 10 --output /dev/null --write-out '%{http_code}\n' --cacert "$work/secrets/ca.crt" --config - \
      >>"$work/used-up.log"
}

# next_limited_key ROOT: into limited_consumer_key the key of a consumer whose one request has just been used up there.
next_limited_key() {
  limited_consumer_key=$(sed -n "$((++limited_used))p" "$work/limited-keys")
  use_up "$1" "$limited_consumer_key" London
}

# knows NAME SETTING: whether nothing is said against that one of those settings.
knows() {
  local said
  said=$("$program" healthcheck --config "$work/$1.toml" 2>&1) || true
  [[ $said != *$2* ]]
}
