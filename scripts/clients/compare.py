"""Compares what a client made of its scenarios. One line a scenario; exit code 1 if one failed.

usage: compare.py CLIENT DIRECT RUN...     each RUN has to be as the run directly against OpenWeatherMap
       compare.py --alike CLIENT DIRECT RUN      each answer of RUN has to be there, and of the same kind

A RUN is LABEL=FILE, with a line of JSON for each scenario.
"""

import json
import sys

WIDEST = 300
# What an answer may have or not, as the weather is.
SOMETIMES = {"rain", "snow", "gust", "wind_gust", "visibility", "alerts", "local_names", "state", "sea_level", "grnd_level"}


def read(path):
    with open(path, encoding="utf-8") as lines:
        return {line["name"]: line for line in map(json.loads, lines)}


def result(line):
    return {"error": line["error"]} if "error" in line else {"value": line.get("value")}


def short(text):
    return text if len(text) <= WIDEST else text[:WIDEST] + "…"


def shown(line):
    if line is None:
        return "nothing: the scenario was not run"
    if "error" in line:
        return short("{class}: {message}".format(**line["error"]))
    return short(json.dumps(line["value"], ensure_ascii=False))


def apart(one, other, path="value"):
    """Where two results differ first, and what is there."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        pairs = [(f"{path}.{key}", one[key], other[key]) for key in one]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = [(f"{path}[{index}]", *pair) for index, pair in enumerate(zip(one, other))]
    else:
        return path, one, other
    return next(apart(a, b, where) for where, a, b in pairs if a != b)


def ok(client, line):
    print(f"ok      {client}: {line['name']}" + ("" if line["kind"] == "answer" else f": {shown(line)}"))


def failed(client, name, why, *values):
    print(f"FAILED  {client}: {name}: {why}")
    for label, value in values:
        print(f"        {label}: {value}")
    return 1


def says_no(value):
    """Whether it is the body of an error: some clients give that for weather."""
    return isinstance(value, dict) and str(value.get("cod", value.get("status", 200)))[:3] != "200"


def empty(line):
    return line is None or "error" in line or line["value"] in (None, [], {}, "") or says_no(line["value"])


def alike(one, other):
    """Whether both are of a kind: what is in one is in the other, too, but for what is not always there."""
    if isinstance(one, dict) and isinstance(other, dict):
        return all(name in other and alike(part, other[name]) for name, part in one.items() if name not in SOMETIMES)
    if isinstance(one, list) and isinstance(other, list):
        return bool(other) and alike(one[0], other[0]) if one else True
    return isinstance(other, type(one)) or {type(one), type(other)} <= {int, float} or None in (one, other)


def compare(client, direct, runs):
    failures = 0
    if not direct:
        return failed(client, "all", "no scenario was run directly")
    for name in dict.fromkeys([*direct, *(name for run in runs.values() for name in run)]):
        line = direct.get(name)
        if line is None or line["kind"] == "answer" and empty(line):
            failures += failed(client, name, "no answer, even from OpenWeatherMap itself", ("direct", shown(line)))
            continue
        for label, run in runs.items():
            other = run.get(name)
            if other is None:
                failures += failed(client, name, f"not run {label}")
                break
            if result(line) != result(other):
                where, one, two = apart(result(line), result(other), "")
                failures += failed(client, name, f"differs {label} at {where or 'all'}", *(
                    (side, short(json.dumps(value, ensure_ascii=False))) for side, value in (("direct", one), (label, two))))
                break
        else:
            ok(client, line)
    return failures


def compare_kinds(client, direct, label, run):
    failures = 0 if run else failed(client, "all", f"no scenario was run {label}")
    for name, line in run.items():
        if empty(line):
            failures += failed(client, name, f"no answer {label}", (label, shown(line)))
        elif not alike(direct[name]["value"], line["value"]):
            failures += failed(client, name, f"something else {label}", ("direct", shown(direct[name])), (label, shown(line)))
        else:
            ok(client, line)
    return failures


def main():
    arguments = sys.argv[1:]
    only_kinds = arguments[0] == "--alike"
    client, *runs = arguments[1:] if only_kinds else arguments
    direct, *others = [(label, read(path)) for label, path in (run.split("=", 1) for run in runs)]
    failures = compare_kinds(client, direct[1], *others[0]) if only_kinds else compare(client, direct[1], dict(others))
    sys.exit(1 if failures else 0)


main()
