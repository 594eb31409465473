"""pyowm against OPENWEATHERMAP, or with its own addresses through FORWARD_PROXY, which it has a setting for."""

from pyowm.commons.http_client import HttpClient
from pyowm.owm import OWM
from pyowm.utils.config import get_default_config, get_default_config_for_proxy

from scenarios import DAY, HOUR, KEY, LIMITED_KEY, NOW, PROXY, ROOT, WRONG_KEY, answer, failure, limit


def managers(key):
    config = get_default_config_for_proxy(PROXY, PROXY) if PROXY else get_default_config()
    config["connection"]["use_ssl"] = False
    owm = OWM(key, config)
    weather, places, air, uv = owm.weather_manager(), owm.geocoding_manager(), owm.airpollution_manager(), owm.uvindex_manager()
    if ROOT:
        def client(path):
            return HttpClient(key, config, ROOT.removeprefix("http://") + path, admits_subdomains=False)

        weather.http_client = air.new_ap_client._client = uv.uv_client._client = client("/data/2.5")
        weather.one_call_http_client = client("/data/3.0")
        places.http_client = client("/geo/1.0")
    return weather, places, air, uv


def one(thing):
    """As a dictionary, without the moment of this client's own clock at which it came."""
    facts = thing.to_dict()
    facts.pop("reception_time", None)
    return facts


def some(things):
    return None if things is None else [one(thing) for thing in things]


def everything(call):
    """What there is in a One Call answer."""
    parts = (call.forecast_minutely, call.forecast_hourly, call.forecast_daily, call.national_weather_alerts)
    return [call.lat, call.lon, call.timezone, one(call.current), *(some(part) for part in parts)]


weather, places, air, uv = managers(KEY)
answer("weather by name", lambda: one(weather.weather_at_place("London,GB")))
answer("weather by a name with an umlaut", lambda: one(weather.weather_at_place("München")))
answer("weather by coordinates", lambda: one(weather.weather_at_coords(51.51, -0.13)))
answer("weather at sea", lambda: one(weather.weather_at_coords(-40.5, -20.25)))
answer("weather by postcode", lambda: one(weather.weather_at_zip_code("97201", "us")))
answer("weather by id", lambda: one(weather.weather_at_id(2643743)))
answer("weather by ids", lambda: some(weather.weather_at_ids([2643743, 2867714])))
answer("weather of places by name", lambda: some(weather.weather_at_places("London", "like", limit=3)))
answer("weather around coordinates", lambda: some(weather.weather_around_coords(51.51, -0.13, limit=2)))
answer("weather in a box", lambda: some(weather.weather_at_places_in_bbox(-1, 50, 12, 53, zoom=10)))
answer("forecast by name", lambda: one(weather.forecast_at_place("London,GB", "3h").forecast))
answer("forecast by coordinates, cut", lambda: one(weather.forecast_at_coords(51.51, -0.13, "3h", limit=3).forecast))
answer("forecast by id", lambda: one(weather.forecast_at_id(2643743, "3h").forecast))
answer("daily forecast by name", lambda: one(weather.forecast_at_place("London,GB", "daily", limit=4).forecast))
answer("One Call", lambda: everything(weather.one_call(51.51, -0.13, units="metric")))
answer("One Call without parts", lambda: everything(weather.one_call(51.51, -0.13, exclude="minutely,hourly")))
answer("places by name", lambda: some(places.geocode("London", country="GB", limit=2)))
answer("places by coordinates", lambda: some(places.reverse_geocode(51.51, -0.13, limit=1)))
answer("air now", lambda: one(air.air_quality_at_coords(51.51, -0.13)))
answer("air to come", lambda: some(air.air_quality_forecast_at_coords(51.51, -0.13)))
answer("air of yesterday", lambda: some(air.air_quality_history_at_coords(51.51, -0.13, NOW - DAY, NOW - DAY + 5 * HOUR)))
answer("ultraviolet light now", lambda: one(uv.uvindex_around_coords(51.51, -0.13)))
answer("ultraviolet light to come", lambda: some(uv.uvindex_forecast_around_coords(51.51, -0.13)))
answer("ultraviolet light of before",
       lambda: some(uv.uvindex_history_around_coords(51.51, -0.13, NOW - 3 * DAY, NOW - DAY)))

# This client looks for `current`, which the time machine of One Call 3.0 does not have.
failure("One Call of yesterday", lambda: everything(weather.one_call_history(51.51, -0.13, NOW - DAY)))
failure("unknown city", lambda: one(weather.weather_at_place("Atlantis")))
failure("unknown city, forecast", lambda: one(weather.forecast_at_place("Atlantis", "3h").forecast))
failure("unknown city, places", lambda: some(places.geocode("Atlantis")))
failure("unknown city, weather of places", lambda: some(weather.weather_at_places("Atlantis", "accurate")))
failure("unknown id", lambda: one(weather.weather_at_id(1)))
failure("unknown postcode", lambda: one(weather.weather_at_zip_code("00000", "us")))
failure("no name", lambda: one(weather.weather_at_place("")))
for told, name, key in ((failure, "wrong key", WRONG_KEY), (limit, "limit reached", LIMITED_KEY)):
    weather, places, air, uv = managers(key)
    told(name, lambda: one(weather.weather_at_place("London,GB")))
    told(f"{name}, forecast", lambda: one(weather.forecast_at_place("London,GB", "3h").forecast))
    told(f"{name}, One Call", lambda: everything(weather.one_call(51.51, -0.13)))
    told(f"{name}, places", lambda: some(places.geocode("London")))
    told(f"{name}, air", lambda: one(air.air_quality_at_coords(51.51, -0.13)))
