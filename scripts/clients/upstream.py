"""A scripted OpenWeatherMap on loopback, for scripts/test-clients. Standard library only.

usage: upstream.py FOLDER, with certificates of `stratus init` in FOLDER/secrets. It writes its ports into
FOLDER/upstream.ports (plain, then HTTPS), and a line a call into FOLDER/calls.log: whose key came with it, and the path. Keys
come by the environment: those of DIRECT_KEY, for clients, and STRATUS_KEY are answered, LIMITED_KEY has no calls left, any
other one is wrong. SPOIL changes the weather that STRATUS_KEY gets, to see that this is noticed.
"""

import json
import os
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlencode, urlsplit

import bodies

HOUR, DAY = bodies.HOUR, bodies.DAY
# The time that counts as now. Both runs of a client see the same.
NOW = int(os.environ["NOW"])
OWNERS = {os.environ[f"{name.upper()}_KEY"]: name for name in ("direct", "stratus", "limited")}


def period(ask, step):
    return range(ask.number("start", 0), ask.number("end", 0), step)


ANSWERS = {
    "/data/2.5/weather": lambda ask: bodies.observation(ask, ask.place(), ask.now),
    "/data/2.5/group": bodies.group,
    "/data/2.5/find": bodies.find,
    "/data/2.5/box/city": bodies.box,
    "/data/2.5/forecast": lambda ask: bodies.forecast(ask, 3 * HOUR, 40),
    "/data/2.5/forecast/hourly": lambda ask: bodies.forecast(ask, HOUR, 96),
    "/data/2.5/forecast/daily": bodies.forecast_daily,
    "/data/2.5/air_pollution": lambda ask: bodies.air(ask, [ask.now]),
    "/data/2.5/air_pollution/forecast": lambda ask: bodies.air(ask, range(ask.now, ask.now + 4 * DAY, HOUR)),
    "/data/2.5/air_pollution/history": lambda ask: bodies.air(ask, period(ask, HOUR)),
    "/data/2.5/uvi": lambda ask: bodies.uv(ask, ask.now),
    "/data/2.5/uvi/forecast": lambda ask: [bodies.uv(ask, ask.now + DAY * day) for day in range(8)],
    "/data/2.5/uvi/history": lambda ask: [bodies.uv(ask, dt) for dt in period(ask, DAY)],
    "/data/3.0/onecall": bodies.one_call,
    "/data/3.0/onecall/timemachine": bodies.time_machine,
    "/geo/1.0/direct": bodies.geo_direct,
    "/geo/1.0/reverse": bodies.geo_reverse,
    "/geo/1.0/zip": bodies.geo_zip,
}
MOMENT = "/data/4.0/onecall/current"
TIMELINE = "/data/4.0/onecall/timeline/"

SITE = "https://openweathermap.org"
CLOSED = "/data/2.5/onecall"
# Its errors, byte for byte.
WRONG_KEY = f'{{"cod":401, "message": "Invalid API key. Please see {SITE}/faq#error401 for more info."}}'
NOT_IN_PLAN = '{"cod":401, "message": "Please note that using One Call 3.0 requires a separate subscription."}'
TOO_MANY = (
    '{"cod":429,"message":"Your account is temporary blocked due to exceeding of requests limitation of your subscription '
    f'type. Please choose the proper subscription {SITE}/price"}}'
)


def error(status, message):
    return status, json.dumps({"cod": str(status), "message": message}, separators=(",", ":"))


def spoilt(body):
    """With one more in every number but the few that say what kind of answer this is."""
    if isinstance(body, dict):
        return {name: part if name in ("cod", "cnt", "count") else spoilt(part) for name, part in body.items()}
    if isinstance(body, list):
        return [spoilt(part) for part in body]
    return body + 1 if isinstance(body, (int, float)) else body


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        # With a proxy the whole address is asked for.
        parts = urlsplit(self.path)
        parameters = dict(parse_qsl(parts.query))
        key = next((value for name, value in parameters.items() if name.lower() == "appid"), None)
        whose = OWNERS.get(key, "nobody")
        with open(os.path.join(sys.argv[1], "calls.log"), "a", encoding="utf-8") as log:
            log.write(f"{whose} {parts.path}\n")
        if whose in ("direct", "stratus"):
            status, body = self.answer(parts.path, parameters, "SPOIL" in os.environ and whose == "stratus")
        else:
            status, body = (429, TOO_MANY) if whose == "limited" else (401, WRONG_KEY)
        raw = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(raw)))
        self.send_header("Access-Control-Allow-Origin", "*")
        self.end_headers()
        self.wfile.write(raw)

    def answer(self, path, parameters, spoil):
        ask = bodies.Question(parameters, NOW)
        if path == CLOSED:
            return 401, NOT_IN_PLAN
        try:
            if path == MOMENT:
                place = ask.point()
                body = {**bodies.zone(ask, place), "data": [bodies.Hour(ask, place, NOW).flat()]}
            elif path.startswith(TIMELINE) and path.removeprefix(TIMELINE) in bodies.TIMELINES:
                body = bodies.timeline(ask, path.removeprefix(TIMELINE), lambda page: self.link(path, parameters, page))
            elif path in ANSWERS:
                body = ANSWERS[path](ask)
            else:
                return error(404, "Internal error")
        except bodies.NotFound:
            return error(404, "not found" if path.startswith("/geo/") else "city not found")
        except bodies.Wrong as wrong:
            return error(400, str(wrong))
        return 200, json.dumps(spoilt(body) if spoil else body, ensure_ascii=False, separators=(",", ":"))

    def link(self, path, parameters, page):
        """To another page, on the host that was asked, with the key: as the real service writes it."""
        return f"https://{self.headers['Host']}{path}?{urlencode({**parameters, **page})}"

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    # Clients come and go without a word.
    handle_error = lambda *_: None


def main():
    folder = sys.argv[1]
    plain, secure = (Server(("127.0.0.1", 0), Handler) for _ in range(2))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(folder, "secrets/https.crt"), os.path.join(folder, "secrets/https.key"))
    secure.socket = context.wrap_socket(secure.socket, server_side=True, do_handshake_on_connect=False)
    for server in (plain, secure):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    ports = os.path.join(folder, "upstream.ports")
    with open(ports + ".new", "w", encoding="ascii") as file:
        file.write(f"{plain.server_port} {secure.server_port}\n")
    os.rename(ports + ".new", ports)
    while True:
        time.sleep(3600)


main()
