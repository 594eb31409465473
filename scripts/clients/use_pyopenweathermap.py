"""pyopenweathermap, which Home Assistant's integration uses, against OPENWEATHERMAP; or with its own addresses, where RESOLVED
is the HOST:PORT at which api.openweathermap.org is found, as a name server at home would have it, and SSL_CERT_FILE the
authority to trust. This client takes the pages of One Call 4.0 by HTTPS only.
"""

import asyncio
import os
import socket

from pyopenweathermap import create_owm_client
from pyopenweathermap.client import air_pollution_client, free_client, onecall_client

from scenarios import KEY, LIMITED_KEY, ROOT, WRONG_KEY, answer, failure, limit

if ROOT:
    free_client.CURRENT_WEATHER_API_URL = ROOT + "/data/2.5/weather"
    free_client.FORECAST_API_URL = ROOT + "/data/2.5/forecast"
    air_pollution_client.CURRENT_AIR_POLLUTION_API_URL = ROOT + "/data/2.5/air_pollution"
    air_pollution_client.FORECAST_API_URL = ROOT + "/data/2.5/air_pollution/forecast"
    onecall_client.API_URL = ROOT + "/data/3.0/onecall"
    onecall_client.V4_API_URL = ROOT + "/data/4.0/onecall"
else:
    HOST, PORT = os.environ["RESOLVED"].split(":")
    ask_system = socket.getaddrinfo

    def resolve(name, *arguments, **options):
        if name != "api.openweathermap.org":
            return ask_system(name, *arguments, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (HOST, int(PORT)))]

    socket.getaddrinfo = resolve

MODES = ["current", "forecast", "v3.0"] if ROOT.startswith("http:") else ["current", "forecast", "v3.0", "v4.0"]


def weather(mode, key=KEY, lat=51.51, lon=-0.13, **options):
    return asyncio.run(create_owm_client(key, mode, **options).get_weather(lat, lon))


def air(key=KEY, lat=51.51):
    return asyncio.run(create_owm_client(key, "air_pollution").get_air_pollution(lat, -0.13))


def valid(mode, key):
    return asyncio.run(create_owm_client(key, mode).validate_key())


for mode in MODES:
    answer(mode, lambda: weather(mode))
    answer(f"{mode}, German, imperial", lambda: weather(mode, lang="de", units="imperial"))
    answer(f"{mode}, at sea", lambda: weather(mode, lat=-40.5, lon=-20.25))
answer("air_pollution", air)
for mode in [*MODES, "air_pollution"]:
    answer(f"{mode}, key is valid", lambda: valid(mode, KEY))
    failure(f"{mode}, wrong key is valid", lambda: valid(mode, WRONG_KEY))
    limit(f"{mode}, key without requests left is valid", lambda: valid(mode, LIMITED_KEY))
for mode in MODES:
    failure(f"{mode}, wrong latitude", lambda: weather(mode, lat=91))
    failure(f"{mode}, wrong key", lambda: weather(mode, WRONG_KEY))
    limit(f"{mode}, limit reached", lambda: weather(mode, LIMITED_KEY))
failure("air_pollution, wrong latitude", lambda: air(lat=91))
failure("air_pollution, wrong key", lambda: air(WRONG_KEY))
limit("air_pollution, limit reached", lambda: air(LIMITED_KEY))
