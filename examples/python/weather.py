"""Prints the weather of a place: python3 weather.py London

STRATUS_URL says where the service is (http://localhost:3000), STRATUS_KEY is a consumer key, if one is needed.
"""

import os
import sys

from stratus import Stratus, StratusError


def main():
    place = sys.argv[1] if len(sys.argv) > 1 else "London"
    stratus = Stratus(os.environ.get("STRATUS_URL", "http://localhost:3000"), key=os.environ.get("STRATUS_KEY"))
    try:
        answer = stratus.weather(place)
    except StratusError as error:
        print(error, file=sys.stderr)
        return 1
    name, sky = answer.body["name"] or place, answer.body["weather"][0]["description"]
    print(f"{name}: {answer.body['main']['temp']:.1f} °C, {sky} ({answer.cache}, {answer.fresh_secs} s fresh)")
    return 0


sys.exit(main())
