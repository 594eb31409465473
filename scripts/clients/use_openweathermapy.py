"""openweathermapy against OPENWEATHERMAP; or with its own address, for which Python's urllib heeds http_proxy."""

import os

from openweathermapy import core

from scenarios import KEY, LIMITED_KEY, PROXY, ROOT, WRONG_KEY, answer, failure, limit

if ROOT:
    core.BASE_URL = ROOT + "/data/2.5/"
if PROXY:
    os.environ["http_proxy"] = PROXY
GERMAN = {"units": "metric", "lang": "de"}


def table(block):
    return {"list": list(block), "meta": dict(block.meta)}


answer("weather by name", lambda: core.get_current("London,GB", APPID=KEY))
answer("weather by a name with an umlaut", lambda: core.get_current("München,DE", appid=KEY, **GERMAN))
answer("weather by id", lambda: core.get_current(2643743, appid=KEY))
answer("weather by coordinates", lambda: core.get_current((51.51, -0.13), appid=KEY, units="imperial"))
answer("weather by postcode", lambda: core.get_current(zip="97201,us", appid=KEY))
answer("weather by ids", lambda: table(core.get_current_for_group((2643743, 2867714), appid=KEY)))
answer("weather of cities by name", lambda: table(core.find_city("London", appid=KEY)))
answer("weather of cities by coordinates", lambda: table(core.find_cities_by_geo_coord((51.51, -0.13), count=2, appid=KEY)))
answer("forecast", lambda: table(core.get_forecast_hourly("London,GB", appid=KEY, **GERMAN)))
answer("daily forecast", lambda: table(core.get_forecast_daily("London,GB", days=3, appid=KEY)))

failure("unknown city", lambda: core.get_current("Atlantis", appid=KEY))
failure("unknown city, forecast", lambda: table(core.get_forecast_hourly("Atlantis", appid=KEY)))
failure("unknown city, cities by name", lambda: table(core.find_city("Atlantis", appid=KEY)))
failure("no place", lambda: core.get_current(appid=KEY))
failure("no key", lambda: core.get_current("London,GB"))
failure("wrong key", lambda: core.get_current("London,GB", appid=WRONG_KEY))
limit("limit reached", lambda: core.get_current("London,GB", appid=LIMITED_KEY))
limit("limit reached, forecast", lambda: table(core.get_forecast_hourly("London,GB", APPID=LIMITED_KEY)))
