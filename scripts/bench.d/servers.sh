# shellcheck shell=bash disable=SC2154,SC2034
# Part of scripts/bench, which sets the variables: the servers that it measures and what they need.

# nginx_conf NAME HTTP-BLOCK: what both nginx have in common. The limit of requests a connection is off, as Stratus has none.
nginx_conf() {
  mkdir -p "$work/$1/temp"
  cat >"$work/$1/nginx.conf" <<CONF
daemon off;
worker_processes 1;
user $(id -un) $(id -gn);
pid $work/$1/nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
  client_body_temp_path $work/$1/temp/body;
  proxy_temp_path $work/$1/temp/proxy;
  fastcgi_temp_path $work/$1/temp/fastcgi;
  scgi_temp_path $work/$1/temp/scgi;
  uwsgi_temp_path $work/$1/temp/uwsgi;
  keepalive_requests 1000000000;
  access_log off;
  $2
}
CONF
}

# A stand-in for OpenWeatherMap. The place's name is in the body, so that an answer about another place shows.
start_origin() {
  # shellcheck disable=SC2016 # $arg_q is nginx's.
  local body='{"coord":{"lon":-0.1257,"lat":51.5085},"weather":[{"id":802,"main":"Clouds","description":"scattered clouds","icon":"03d"}],'
  body+='"base":"stations","main":{"temp":11.87,"feels_like":11.22,"temp_min":10.62,"temp_max":12.94,"pressure":1013,"humidity":81,'
  body+='"sea_level":1013,"grnd_level":1009},"visibility":10000,"wind":{"speed":4.63,"deg":240,"gust":8.21},"rain":{"1h":0.13},'
  body+='"clouds":{"all":40},"dt":1790000000,"sys":{"type":2,"id":2075535,"country":"GB","sunrise":1789970000,"sunset":1790012000},'
  body+='"timezone":0,"id":2643743,"name":"$arg_q","cod":200}'
  free_port
  nginx_conf origin "server {
    listen 127.0.0.1:$port;
    default_type 'application/json; charset=utf-8';
    location = /data/2.5/weather { return 200 '$body'; }
  }"
  start origin "$OTHER_CPU" nginx -p "$work/origin" -c "$work/origin/nginx.conf"
  public[origin]=127.0.0.1:$port
  ready origin connects "$port"
}

start_redis() {
  "$program" init "$work/secrets" >/dev/null
  free_port
  start redis-server "$OTHER_CPU" redis-server "$PWD/redis.conf" --tls-port "$port"
  redis_port=$port
  ready redis-server grep -q 'Ready to accept connections' "$work/redis-server.log"
}

# start_stratus NAME BACKEND CACHE-SETTINGS [ACCESS-SETTINGS]: as it comes, but nothing expires while it is measured, and the
# limits of callers, which count every request, are beyond what a load can reach.
start_stratus() {
  local listening
  cat >"$work/$1.toml" <<TOML
[server]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[upstream]
base_url = "http://${public[origin]}"
api_key = "bench"
# What is measured are hits; a thousand places are loaded before.
budget_per_minute = 1000000
budget_per_month = 0
[cache]
fresh_secs = 86400
jitter_percent = 0
$3
[access]
anonymous_per_minute = 10000000
${4:-}
[store]
backend = "$2"
[redis]
url = "rediss://127.0.0.1:$redis_port"
password_file = "secrets/redis-password"
ca_file = "secrets/ca.crt"
cert_file = "secrets/stratus.crt"
key_file = "secrets/stratus.key"
# The CPU that Redis shares with the load is busy, and an answer that comes late must still be a hit.
command_timeout_ms = 1000
[encryption]
keys_file = "secrets/encryption-keys"
TOML
  start "$1" "$SERVER_CPU" "$program" serve --config "$1.toml"
  ready "$1" grep -q '"listening"' "$work/$1.log"
  listening=$(grep -m1 '"listening"' "$work/$1.log")
  public[$1]=$(sed -E 's/.*"public":"([^"]+)".*/\1/' <<<"$listening")
  admin[$1]=$(sed -E 's/.*"admin":"([^"]+)".*/\1/' <<<"$listening")
  [ "$(counter "$1" stratus_store_up)" = 1 ] || { tail -5 "$work/$1.log" >&2; fail "$1 cannot use its store"; }
}

# One consumer, whose key is in the file `key`, and the header with it in `authorization`.
make_consumer() {
  "$program" consumer new bench --per-minute 10000000 2>/dev/null >"$work/consumer"
  head -1 "$work/consumer" | tr -d '\n' >"$work/key"
  tail -n +2 "$work/consumer" >"$work/consumers.toml"
  printf 'Authorization: Bearer %s' "$(<"$work/key")" >"$work/authorization"
}

# In front of Stratus, so that it has the same answers. Two servers in one process: without and with an access log. Of
# the settings that matter for small files, the ones with which it needs least CPU: no sendfile (its default), and files
# that stay open.
start_nginx() {
  local hit="proxy_pass http://${public[memory]};" plain logged
  free_port; plain=$port
  free_port; logged=$port
  nginx_conf nginx "
  proxy_cache_path $work/nginx/cache levels=1:2 keys_zone=weather:10m inactive=1d use_temp_path=off;
  proxy_cache weather;
  proxy_cache_key \$request_uri;
  proxy_cache_valid 200 1d;
  proxy_ignore_headers Cache-Control Expires Set-Cookie Vary X-Accel-Expires;
  proxy_http_version 1.1;
  proxy_set_header Connection '';
  open_file_cache max=10000 inactive=1d;
  open_file_cache_valid 1d;
  log_format access escape=json '{\"timestamp\":\"\$time_iso8601\",\"request_id\":\"\$request_id\",\"method\":\"\$request_method\",'
    '\"route\":\"/weather/{location}\",\"status\":\$status,\"cache\":\"\$upstream_cache_status\",\"duration_s\":\$request_time}';
  server { listen 127.0.0.1:$plain; location / { $hit } }
  server { listen 127.0.0.1:$logged; location / { $hit } access_log $work/nginx/access.log access buffer=64k flush=1s; }"
  start nginx "$SERVER_CPU" nginx -p "$work/nginx" -c "$work/nginx/nginx.conf"
  public[nginx]=127.0.0.1:$plain
  public[nginx-log]=127.0.0.1:$logged
  ready nginx connects "$plain"
}
