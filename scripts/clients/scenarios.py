"""What the scenarios in Python share. Settings come by the environment; for each scenario a line of JSON goes to stdout.

OPENWEATHERMAP     the host root to ask, such as http://127.0.0.1:3000; empty where the client keeps its own addresses
FORWARD_PROXY      the proxy to ask them through instead
KEY, WRONG_KEY, LIMITED_KEY     one that is answered, one that is not known, one that has no requests left
NOW                what the scripted OpenWeatherMap calls now, in Unix seconds
ONLY               run scenarios of this kind only
"""

import dataclasses
import json
import os

ROOT = os.environ.get("OPENWEATHERMAP", "")
PROXY = os.environ.get("FORWARD_PROXY", "")
KEY, WRONG_KEY, LIMITED_KEY = (os.environ[name] for name in ("KEY", "WRONG_KEY", "LIMITED_KEY"))
NOW = int(os.environ["NOW"])
HOUR, DAY = 3600, 86400


def plain(value):
    """What `json` does not know by itself."""
    if dataclasses.is_dataclass(value):
        return dataclasses.asdict(value)
    return value.isoformat()


def told(error):
    """An exception as an app sees it."""
    kind = type(error)
    seen = {"class": f"{kind.__module__}.{kind.__qualname__}", "message": str(error)}
    if hasattr(error, "read"):
        seen["body"] = error.read().decode()
    return seen


def scenario(kind, name, call):
    """Kinds: `answer` is what the real service answers as asked, `error` what it does not, `limit` what it does not for want
    of requests, and `closed` what it did once.
    """
    if os.environ.get("ONLY", kind) != kind:
        return
    try:
        result = {"value": call()}
    except Exception as error:  # pylint: disable=broad-except  # whatever it is: it is compared
        result = {"error": told(error)}
    print(json.dumps({"kind": kind, "name": name, **result}, default=plain, sort_keys=True), flush=True)


def answer(name, call):
    scenario("answer", name, call)


def failure(name, call):
    scenario("error", name, call)


def limit(name, call):
    scenario("limit", name, call)
