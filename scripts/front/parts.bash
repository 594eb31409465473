# The programs of scripts/front-test and their settings.
# shellcheck shell=bash disable=SC2154

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else echo "this needs root, and there is no sudo: run \`$*\` as root, then try again" >&2; return 1
  fi
}

need_caches() {
  # Debian keeps both where only root looks.
  PATH=$PATH:/usr/sbin
  if command -v nginx >/dev/null && command -v varnishd >/dev/null; then return; fi
  as_root apt-get update -q
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends nginx-light varnish
}

take_ports() {
  local name candidate
  for name in "$@"; do
    while
      candidate=$((20000 + RANDOM % 10000))
      [[ " ${port[*]} " == *" $candidate "* ]] || (exec 3<>"/dev/tcp/127.0.0.1/$candidate") 2>/dev/null
    do :; done
    port[$name]=$candidate
  done
}

# guide LANGUAGE NUMBER: that block of the guide, with the addresses and folders of this test.
guide() {
  awk -v begin="\`\`\`$1" -v number="$2" '$0 == begin { on = ++found == number; next } /^```/ { on = 0 } on' "$GUIDE" |
    sed "s|127.0.0.1:3000|127.0.0.1:${port[stratus]}|; s|\"3000\"|\"${port[stratus]}\"|
      s|listen 8080|listen 127.0.0.1:${port[nginx]}|; s|listen 8081|listen 127.0.0.1:${port[forms]}|; s|/var/cache/nginx/weather|$work/nginx/guide|"
}

# Besides the two of the guide there are two nginx with a line more, which the guide advises against. Weather is in files
# that this script writes; a place whose name begins with "clock" has the time of each answer in it.
write_nginx() {
  mkdir -p "$work/nginx" "$work/weather"
  cat >"$work/nginx.conf" <<NGINX
user $(id -un) $(id -gn);
daemon off;
worker_processes 1;
pid $work/nginx.pid;
error_log $work/nginx.errors;
events {}
http {
    access_log off;
    client_body_temp_path $work/nginx/1; proxy_temp_path $work/nginx/2; fastcgi_temp_path $work/nginx/3;
    uwsgi_temp_path $work/nginx/4; scgi_temp_path $work/nginx/5;
    log_format calls '\$msec \$arg_q \$status';
    server {
        listen 127.0.0.1:${port[openweathermap]};
        access_log $work/calls.log calls;
        root $work/weather;
        default_type application/json;
        location = /data/2.5/weather {
            if (-f $work/broken) { return 500; }
            if (\$arg_q ~ ^clock) { return 200 '{"weather":[],"main":{},"cod":200,"at":\$msec}'; }
            try_files /\$arg_q @unknown;
        }
        location @unknown { return 404 '{"cod":"404","message":"city not found"}'; }
    }
$(guide nginx 1)
$(guide nginx 2)
    proxy_cache_path $work/nginx/revalidate keys_zone=revalidate:1m use_temp_path=off;
    proxy_cache_path $work/nginx/updating keys_zone=updating:1m use_temp_path=off;
    server {
        listen 127.0.0.1:${port[revalidate]};
        location / {
            proxy_pass http://127.0.0.1:${port[stratus]};
            proxy_cache revalidate;
            proxy_cache_revalidate on;
        }
    }
    server {
        listen 127.0.0.1:${port[updating]};
        location / {
            proxy_pass http://127.0.0.1:${port[stratus]};
            proxy_cache updating;
            proxy_cache_use_stale error timeout updating;
            proxy_cache_background_update on;
        }
    }
}
NGINX
}

write_stratus() {
  (umask 077 && cat >"$work/stratus.toml") <<TOML
[server]
listen = "127.0.0.1:${port[stratus]}"
[admin]
listen = "127.0.0.1:${port[admin]}"
[upstream]
base_url = "http://127.0.0.1:${port[openweathermap]}"
api_key = "front-test-key"
budget_per_minute = 1000000
[access]
# All come from the cache in front.
anonymous_per_minute = 0
[cache]
fresh_secs = $FRESH
stale_while_revalidate_secs = $SWR
stale_if_error_secs = $SIE
jitter_percent = 0
[store]
backend = "memory"
[encryption]
keys = "1:$(head -c 32 /dev/urandom | base64)"
TOML
}

# start NAME COMMAND...
start() {
  local name=$1
  shift
  "$@" >>"$work/$name.log" 2>&1 &
  pid[$name]=$!
}

# stop NAME
stop() {
  kill "${pid[$1]}"
  wait "${pid[$1]}" || true
  unset "pid[$1]"
}

# Without the settings that the environment may hold.
start_stratus() { start stratus env -i "$program" serve --config "$work/stratus.toml"; }

# start_varnish NAME: with the settings in NAME.vcl. 8 MB of its log are more than this test fills.
start_varnish() {
  start "$1" varnishd -F -j none -n "$work/$1.d" -a "127.0.0.1:${port[$1]}" -T none -s malloc,16m -p vsl_space=8m \
    -f "$work/$1.vcl"
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/${port[$1]}") 2>/dev/null; }
