# For scripts/front-test: many answers at many ages at the same time, and a table of them.
# shellcheck shell=bash disable=SC2154

# shoot WHOM PLACE TAG: keeps an answer with the time when it came. The tag is the request id: Stratus' log tells whether the
# question got there.
shoot() {
  curl --silent --include --max-time 5 --header "X-Request-Id: $3" "http://127.0.0.1:${port[$1]}/weather/$2" \
    >"$work/shots/$3" || true
  printf '\nnow: %s\n' "$EPOCHREALTIME" >>"$work/shots/$3"
}

# poll WHOM AGE: again and again, from when Stratus' answer is that old.
poll() {
  local number
  shoot stratus "clock$1poll$2" "warm.$1.$2.0"
  sleep "$2.4"
  for ((number = 2 * $2; number < 20; number++)); do
    shoot "$1" "clock$1poll$2" "poll.$1.$2.$number"
    sleep 0.5
  done
}

# gap WHOM TENTHS: once, and after that time again.
gap() {
  local number
  shoot "$1" "clock$1gap$2" "gap.$1.$2.0"
  sleep "${2%?}.${2: -1}"
  for number in 1 2 3; do
    shoot "$1" "clock$1gap$2" "gap.$1.$2.$number"
    sleep 0.4
  done
}

# twice WHOM AGE: when Stratus' answer is that old.
twice() {
  local number
  shoot stratus "clock$1twice$2" "warm.$1.$2.1"
  sleep "$2.3"
  for number in 1 2; do shoot "$1" "clock$1twice$2" "twice.$1.$2.$number"; done
}

sweep() {
  local whom value
  mkdir "$work/shots"
  for whom in nginx varnish whole; do
    for value in 0 1 2 3; do
      poll "$whom" "$value" & sweeps+=($!)
      twice "$whom" "$value" & sweeps+=($!)
    done
    for value in 33 38 43 48 53 58 63 73; do gap "$whom" "$value" & sweeps+=($!); done
  done
  poll revalidate 0 & sweeps+=($!)
  gap updating 83 & sweeps+=($!)
  wait "${sweeps[@]}"
  sweeps=()
}

# A line a shot: kind, whom, value, number, status, Age, max-age, seconds since OpenWeatherMap answered, age as RFC 9111,
# section 4.2.3, counts it from Age and Date, and what Stratus answered to it ("-" if it was not asked).
tabulate() {
  (cd "$work/shots" && awk '
    function out() { if (tag) print tag "|" status "|" age "|" max "|" now - at "|" now "|" date }
    FNR == 1 { out(); tag = FILENAME; status = $2; age = max = at = now = 0; date = "now" }
    { sub(/\r$/, "") }
    tolower($1) == "age:" { age = $2 }
    tolower($1) == "date:" { date = substr($0, 7) }
    tolower($1) == "cache-control:" && match($0, /max-age=[0-9]+/) { max = substr($0, RSTART + 8, RLENGTH - 8) }
    match($0, /"at":[0-9.]+/) { at = substr($0, RSTART + 5, RLENGTH - 5) }
    $1 == "now:" { now = $2 }
    END { out() }' OFMT=%.3f CONVFMT=%.3f ./* | sed 's|^\./||') >"$work/raw"
  cut -d'|' -f7 "$work/raw" | date -f - +%s >"$work/dates"
  sed -nE 's/.*"request_id":"([^"]+)".*"status":([0-9]+).*"cache":"([A-Z]+)".*/\1 \2-\3/p' "$work/stratus.log" >"$work/reached"
  paste -d'|' "$work/raw" "$work/dates" | tr '|' ' ' | awk '
    NR == FNR { reached[$1] = $2; next }
    { tag = $1; counted = $6 - $NF; if (counted < $3) counted = $3; gsub(/\./, " ", $1)
      print $1, $2, $3, $4, $5, counted, tag in reached ? reached[tag] : "-" }' "$work/reached" - >"$work/table"
}

# none CONDITION: no line of the table is so.
none() { ! awk "$1" "$work/table" | grep . >&2; }
some() { awk "$1" "$work/table" | grep -q .; }

# oldest WHOM
oldest() { awk -v whom="$1" '$2 == whom && $1 != "warm" && $8 > most { most = $8 } END { printf "%.1f", most }' "$work/table"; }
