"""Bodies of the scripted OpenWeatherMap: invented weather with the fields of the real one.

They follow the question (place, units, lang, cnt, exclude, ...), so that a parameter that is lost on the way changes the
answer.
"""

HOUR, DAY = 3600, 86400

# name, country, id, latitude, longitude, seconds east of UTC, time zone, postcode
PLACES = [
    ("London", "GB", 2643743, 51.51, -0.13, 0, "Europe/London", "e14,gb"),
    ("München", "DE", 2867714, 48.14, 11.58, 3600, "Europe/Berlin", "80331,de"),
    ("Portland", "US", 5746545, 45.52, -122.68, -28800, "America/Los_Angeles", "97201,us"),
]
NAMES = {"it": {"London": "Londra", "München": "Monaco di Baviera"}}
# Condition: id, group, icon, and what it is called.
CONDITIONS = [
    (800, "Clear", "01", {"en": "clear sky", "de": "Klarer Himmel", "it": "cielo sereno"}),
    (803, "Clouds", "04", {"en": "broken clouds", "de": "Überwiegend bewölkt", "it": "nubi sparse"}),
    (500, "Rain", "10", {"en": "light rain", "de": "Leichter Regen", "it": "pioggia leggera"}),
    (600, "Snow", "13", {"en": "light snow", "de": "Mäßiger Schnee", "it": "neve leggera"}),
]


class NotFound(Exception):
    """There is no such place."""


class Wrong(Exception):
    """The question cannot be answered; says why in OpenWeatherMap's words."""


class Question:
    """The parameters of a request, and the time that this run calls now."""

    def __init__(self, parameters, now):
        self.given, self.now = parameters, now
        self.lang = parameters.get("lang", "en").lower()
        self.units = parameters.get("units", "standard").lower()

    def number(self, name, otherwise):
        return int(self.given[name]) if name in self.given else otherwise

    def place(self):
        """The place that is meant, with the coordinates as OpenWeatherMap echoes them: those of the request."""
        for name, position in (("q", named), ("id", numbered), ("zip", coded)):
            if name in self.given:
                return position(self.given[name])
        return self.point()

    def point(self):
        lat, lon = (self.degrees(*side) for side in (("lat", 90, "latitude"), ("lon", 180, "longitude")))
        near = [place for place in PLACES if abs(place[3] - lat) < 0.2 and abs(place[4] - lon) < 0.2]
        # At sea there is neither a name nor a country.
        place = near[0] if near else ("", None, 0, lat, lon, 0, "Etc/GMT", None)
        return (*place[:3], lat, lon, *place[5:])

    def degrees(self, name, most, word):
        try:
            value = float(self.given.get(name, ""))
        except ValueError:
            raise Wrong("Nothing to geocode" if name not in self.given else f"wrong {word}") from None
        if abs(value) > most:
            raise Wrong(f"wrong {word}")
        return round(value, 4)

    def temperature(self, hundredths):
        """From hundredths of a kelvin."""
        if self.units == "metric":
            return tidy((hundredths - 27315) / 100)
        return tidy((hundredths - 27315) / 100 * 1.8 + 32 if self.units == "imperial" else hundredths / 100)

    def speed(self, metres):
        return tidy(metres * 2.236936 if self.units == "imperial" else metres)

    def name(self, place):
        return NAMES.get(self.lang, {}).get(place[0], place[0])


def tidy(number):
    """As OpenWeatherMap writes numbers: at most two decimals, and whole ones without a point."""
    number = round(number, 2)
    return int(number) if number == int(number) else number


def named(text):
    parts = [part.strip().lower() for part in text.split(",")]
    for place in PLACES:
        if parts[0] == place[0].lower() and parts[-1] in (parts[0], place[1].lower()):
            return place
    raise NotFound


def numbered(text):
    for place in PLACES:
        if text == str(place[2]):
            return place
    raise NotFound


def coded(text):
    for place in PLACES:
        if text.lower() == place[7] or f"{text.lower()},us" == place[7]:
            return place
    raise NotFound


class Hour:
    """The weather of a place at a time."""

    def __init__(self, question, place, dt):
        seed = (place[2] * 31 + int(place[3] * 100) * 7 + int(place[4] * 100) * 3 + dt // HOUR * 13) % 1009
        self.question, self.dt, self.seed = question, dt, seed
        self.kelvin = 27000 + seed * 3
        self.kind = CONDITIONS[seed % len(CONDITIONS)]
        self.wind, self.deg = 1 + seed % 90 / 10, seed % 360
        self.pressure, self.humidity, self.clouds = 980 + seed % 50, 30 + seed % 70, seed % 101
        self.sunrise = dt // DAY * DAY + 21600
        self.wet = {"Rain": ("rain", 0.1 + seed % 20 / 10), "Snow": ("snow", 0.1 + seed % 9 / 10)}.get(self.kind[1])

    def conditions(self):
        number, group, icon, words = self.kind
        night = "d" if self.sunrise <= self.dt < self.sunrise + DAY // 2 else "n"
        return [{"id": number, "main": group, "description": words.get(self.question.lang, words["en"]), "icon": icon + night}]

    def main(self):
        degrees = self.question.temperature
        return {
            "temp": degrees(self.kelvin), "feels_like": degrees(self.kelvin - 150), "temp_min": degrees(self.kelvin - 95),
            "temp_max": degrees(self.kelvin + 110), "pressure": self.pressure, "humidity": self.humidity,
        }

    def wind_of(self):
        speed = self.question.speed
        return {"speed": speed(self.wind), "deg": self.deg, "gust": speed(self.wind * 2)}

    def fall(self, hours):
        return {self.wet[0]: {f"{hours}h": tidy(self.wet[1])}} if self.wet else {}

    def flat(self):
        """As One Call spells it."""
        wind = self.wind_of()
        return {
            "dt": self.dt, "temp": self.main()["temp"], "feels_like": self.main()["feels_like"], "pressure": self.pressure,
            "humidity": self.humidity, "dew_point": self.question.temperature(self.kelvin - 500), "uvi": self.seed % 11,
            "clouds": self.clouds, "visibility": 10000, "wind_speed": wind["speed"], "wind_deg": wind["deg"],
            "wind_gust": wind["gust"], "weather": self.conditions(), **self.fall(1),
        }

    def day(self):
        """As One Call spells a day."""
        times = {name: self.question.temperature(self.kelvin + add) for name, add in
                 (("day", 0), ("min", -400), ("max", 350), ("night", -380), ("eve", 120), ("morn", -290))}
        felt = {name: tidy(times[name] - 1) for name in ("day", "night", "eve", "morn")}
        return {
            **self.flat(), "sunrise": self.sunrise, "sunset": self.sunrise + DAY // 2, "moonrise": self.sunrise + HOUR,
            "moonset": self.sunrise + DAY // 2 - HOUR, "moon_phase": 0.25, "summary": "Expect a day of invented weather",
            "temp": times, "feels_like": felt, "pop": tidy(self.seed % 101 / 100),
            **({self.wet[0]: tidy(self.wet[1])} if self.wet else {}),
        }


def observation(question, place, dt):
    hour = Hour(question, place, dt)
    country = {"country": place[1]} if place[1] else {}
    return {
        "coord": {"lon": tidy4(place[4]), "lat": tidy4(place[3])}, "weather": hour.conditions(), "base": "stations",
        "main": hour.main(), "visibility": 10000, "wind": hour.wind_of(), **hour.fall(1), "clouds": {"all": hour.clouds},
        "dt": dt, "sys": {**country, "sunrise": hour.sunrise, "sunset": hour.sunrise + DAY // 2}, "timezone": place[5],
        "id": place[2], "name": question.name(place), "cod": 200,
    }


def tidy4(number):
    return int(number) if number == int(number) else number


def listed(question, place):
    """An observation as lists have it."""
    row = observation(question, place, question.now)
    return {key: value for key, value in row.items() if key not in ("base", "cod", "timezone")}


def city(question, place):
    return {
        "id": place[2], "name": question.name(place), "coord": {"lat": tidy4(place[3]), "lon": tidy4(place[4])},
        "country": place[1] or "", "population": 1000000, "timezone": place[5],
    }


def forecast(question, step, most):
    place = question.place()
    count = min(question.number("cnt", most), most)
    first = question.now - question.now % step + step
    rows = []
    for dt in range(first, first + count * step, step):
        hour = Hour(question, place, dt)
        rows.append({
            "dt": dt, "main": hour.main(), "weather": hour.conditions(), "clouds": {"all": hour.clouds}, "wind": hour.wind_of(),
            "visibility": 10000, "pop": tidy(hour.seed % 101 / 100), **hour.fall(step // HOUR), "sys": {"pod": "d"},
        })
    sunrise = question.now // DAY * DAY + 21600
    around = {**city(question, place), "sunrise": sunrise, "sunset": sunrise + DAY // 2}
    return {"cod": "200", "message": 0, "cnt": count, "list": rows, "city": around}


# Of a day in One Call, what a day in the daily forecast has.
DAILY = {"dt", "sunrise", "sunset", "temp", "feels_like", "pressure", "humidity", "weather", "clouds", "pop", "rain", "snow"}


def forecast_daily(question):
    place = question.place()
    count = min(question.number("cnt", 7), 16)
    noon = question.now // DAY * DAY + 12 * HOUR
    rows = []
    for dt in range(noon, noon + count * DAY, DAY):
        day = Hour(question, place, dt).day()
        wind = {"speed": day["wind_speed"], "deg": day["wind_deg"], "gust": day["wind_gust"]}
        rows.append({**{key: part for key, part in day.items() if key in DAILY}, **wind})
    return {"city": city(question, place), "cod": "200", "message": 0.05, "cnt": count, "list": rows}


def find(question):
    if "q" in question.given:
        try:
            found = [named(question.given["q"])]
        except NotFound:
            found = []
    else:
        question.point()
        found = PLACES[: question.number("cnt", 5)]
    rows = [{"rain": None, "snow": None, **listed(question, place), "sys": {"country": place[1]}} for place in found]
    return {"message": question.given.get("type", "accurate"), "cod": "200", "count": len(rows), "list": rows}


def group(question):
    rows = [listed(question, numbered(number)) for number in question.given.get("id", "").split(",")]
    return {"cnt": len(rows), "list": rows}


def box(question):
    left, bottom, right, top = [float(side) for side in question.given["bbox"].split(",")][:4]
    inside = [place for place in PLACES if left <= place[4] <= right and bottom <= place[3] <= top]
    return {"cod": "200", "calctime": 0.01, "cnt": len(inside), "list": [listed(question, place) for place in inside]}


def air(question, times):
    place = question.point()
    rows = []
    for dt in times:
        seed = Hour(question, place, dt).seed
        gases = ("co", "no", "no2", "o3", "so2", "pm2_5", "pm10", "nh3")
        parts = {gas: tidy((seed + number * 17) % 300 / 10) for number, gas in enumerate(gases)}
        rows.append({"main": {"aqi": 1 + seed % 5}, "components": parts, "dt": dt})
    return {"coord": {"lon": tidy4(place[4]), "lat": tidy4(place[3])}, "list": rows}


def uv(question, dt):
    place = question.point()
    return {"lat": place[3], "lon": place[4], "date_iso": "", "date": dt, "value": Hour(question, place, dt).seed % 11}


def zone(question, place):
    return {"lat": tidy4(place[3]), "lon": tidy4(place[4]), "timezone": place[6], "timezone_offset": place[5]}


def one_call(question):
    place, now = question.point(), question.now
    current = {**Hour(question, place, now).flat(), "sunrise": now // DAY * DAY + 21600, "sunset": now // DAY * DAY + 64800}
    minutes, hours = now // 60 * 60, now // HOUR * HOUR
    parts = {
        "current": current,
        "minutely": [{"dt": minutes + 60 * step, "precipitation": tidy(step % 7 / 10)} for step in range(61)],
        "hourly": [{**Hour(question, place, hours + HOUR * step).flat(), "pop": tidy(step % 11 / 10)} for step in range(48)],
        "daily": [Hour(question, place, now // DAY * DAY + 12 * HOUR + DAY * step).day() for step in range(8)],
        "alerts": [{"sender_name": "Nobody", "event": "Wind", "start": now, "end": now + DAY, "description": "Invented",
                    "tags": ["Wind"]}],
    }
    left_out = question.given.get("exclude", "").split(",")
    return {**zone(question, place), **{name: part for name, part in parts.items() if name not in left_out}}


def time_machine(question):
    place, dt = question.point(), question.number("dt", question.now)
    moment = {name: part for name, part in Hour(question, place, dt).flat().items() if name != "uvi"}
    moment |= {"sunrise": dt // DAY * DAY + 21600, "sunset": dt // DAY * DAY + 64800}
    return {**zone(question, place), "data": [moment]}


# One Call 4.0: seconds between records, and how many a page has at most.
TIMELINES = {"1min": (60, 60), "1h": (HOUR, 20), "1day": (DAY, 10)}


def timeline(question, name, link):
    """A page, with links to the ones beside it; `link` writes them from parameters, the caller's key included."""
    place = question.point()
    step, most = TIMELINES[name]
    count = min(question.number("cnt", most), most)
    start = question.number("start", question.now)
    start -= start % step
    rows = []
    for number in range(count):
        dt = start + step * number
        hour = Hour(question, place, dt)
        minute = {"dt": dt, "precipitation": tidy(number % 7 / 10)}
        rows.append({"1min": minute, "1h": {**hour.flat(), "pop": 0.5}, "1day": hour.day()}[name])
    place4 = {"lat": f"{place[3]:.4f}", "lon": f"{place[4]:.4f}"}
    links = {side: link({**place4, "start": start + way * count * step}) for side, way in (("prev", -1), ("next", 1))}
    return {**zone(question, place), "data": rows, **links}


def located(place, **more):
    names = {lang: names[place[0]] for lang, names in NAMES.items() if place[0] in names}
    return {"name": place[0], "local_names": names, "lat": place[3], "lon": place[4], "country": place[1], **more}


def geo_direct(question):
    if not question.given.get("q"):
        raise Wrong("Nothing to geocode")
    try:
        place = named(question.given["q"])
    except NotFound:
        return []
    # A second one of the name, for `limit`.
    return [located(place), located(place, state="Elsewhere")][: question.number("limit", 5)]


def geo_reverse(question):
    place = question.point()
    return [located(place), located(place, state="Beside")][: question.number("limit", 5)] if place[2] else []


def geo_zip(question):
    if "zip" not in question.given:
        raise Wrong("invalid zip code")
    place = coded(question.given["zip"])
    return {"zip": place[7].split(",")[0].upper(), "name": place[0], "lat": place[3], "lon": place[4], "country": place[1]}
