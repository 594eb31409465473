"""A client of Stratus with nothing but the standard library (Python 3.9 or newer).

    from stratus import Stratus
    answer = Stratus("http://localhost:3000").weather("London")
    print(answer.body["main"]["temp"], answer.cache, answer.fresh_secs)
"""

import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass


class StratusError(Exception):
    """What went wrong, as the service says it. `code` never changes, so programs can compare it."""

    def __init__(self, detail, code=None, status=None, retry_after_secs=None):
        super().__init__(detail)
        self.code = code
        self.status = status
        self.retry_after_secs = retry_after_secs


@dataclass
class Answer:
    """OpenWeatherMap's answer, how it came about (HIT, MISS, STALE), and for how many seconds it is fresh."""

    body: dict
    cache: str
    fresh_secs: int


class Stratus:
    """`key` is a consumer key; a Retry-After of up to `patience_secs` is waited for, once."""

    def __init__(self, base, key=None, timeout_secs=5, patience_secs=5):
        self._base = base.rstrip("/")
        self._key = key
        self._timeout_secs = timeout_secs
        self._patience_secs = patience_secs
        # The last answer to each address, with its tag.
        self._known = {}

    def weather(self, place, units="metric", lang=None):
        """The weather of now at a place: London, "London,GB", "51.51,-0.13", "id:2643743", "zip:94040,US"."""
        return self._get("weather", place, units=units, lang=lang)

    def forecast(self, place, units="metric", lang=None, cnt=None):
        """Five days, every three hours."""
        return self._get("forecast", place, units=units, lang=lang, cnt=cnt)

    def air(self, place):
        """What is in the air."""
        return self._get("air", place)

    def _get(self, what, place, **parameters):
        query = urllib.parse.urlencode({name: value for name, value in parameters.items() if value is not None})
        url = f"{self._base}/{what}/{urllib.parse.quote(place, safe='')}" + (f"?{query}" if query else "")
        try:
            return self._ask(url)
        except StratusError as error:
            wait = error.retry_after_secs
            if wait is None or wait > self._patience_secs:
                raise
            time.sleep(wait)
            return self._ask(url)

    def _ask(self, url):
        request = urllib.request.Request(url)
        if self._key:
            request.add_header("X-API-Key", self._key)
        known = self._known.get(url)
        if known:
            # The service answers 304 without a body if we have the latest already.
            request.add_header("If-None-Match", known[0])
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_secs) as response:
                return self._remember(url, response.headers, json.load(response))
        except urllib.error.HTTPError as response:
            with response:
                if response.code == 304 and known:
                    return self._remember(url, response.headers, known[1])
                raise _problem(response) from None
        except OSError as error:
            raise StratusError(f"the service cannot be reached: {error}") from error

    def _remember(self, url, headers, body):
        if headers["ETag"]:
            self._known[url] = (headers["ETag"], body)
        fresh = re.search(r"max-age=(\d+)", headers["Cache-Control"] or "")
        return Answer(body, headers["X-Cache"], int(fresh[1]) if fresh else 0)


def _problem(response):
    try:
        said = json.load(response)
    except ValueError:
        # A proxy on the way may answer in its own words.
        said = {}
    wait = response.headers["Retry-After"]
    detail = said.get("detail", f"the service answered with status {response.code}")
    return StratusError(detail, said.get("code"), response.code, int(wait) if wait else None)
