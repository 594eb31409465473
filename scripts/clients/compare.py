"""Compares what a client made of its scenarios. One line a scenario; exit code 1 if one failed.

usage: compare.py CLIENT DIRECT RUN...       each RUN has to be as the run directly against OpenWeatherMap; what that has
                                             closed has to be answered
       compare.py --limit CLIENT DIRECT RUN...   as well, but only of what ends for want of requests
       compare.py --alike CLIENT DIRECT RUN      each answer of RUN has to be there, and of the same kind

A RUN is LABEL=FILE, with a line of JSON for each scenario.
"""

import json
import sys

WIDEST = 300
# The kinds of scenarios that end with an answer directly, and those that end without.
EXPECTED = {"answer": True, "limit": False, "closed": False}
# What an answer may have or not, as the weather is.
SOMETIMES = {"rain", "snow", "precipitationAmount", "gust", "wind_gust", "visibility", "alerts", "local_names", "state"}


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


def same(client, line, label, other):
    """Whether a scenario went as it did directly. Says how not."""
    name = line["name"]
    if other is None:
        failed(client, name, f"not run {label}")
    elif line["kind"] == "closed":
        if not empty(other):
            return True
        failed(client, name, f"no answer {label}", ("direct", shown(line)), (label, shown(other)))
    elif result(line) == result(other):
        return True
    else:
        where, one, two = apart(result(line), result(other), "")
        sides = [(side, short(json.dumps(value, ensure_ascii=False))) for side, value in (("direct", one), (label, two))]
        failed(client, name, f"differs {label} at {where or 'all'}", *sides)
    return False


def compare(client, direct, runs):
    failures = 0 if direct else failed(client, "all", "no scenario was run directly")
    for line in direct.values():
        if line["kind"] in EXPECTED and EXPECTED[line["kind"]] == empty(line):
            failures += failed(client, line["name"], "not what OpenWeatherMap itself says", ("direct", shown(line)))
        elif all(same(client, line, label, run.get(line["name"])) for label, run in runs.items()):
            ok(client, line)
        else:
            failures += 1
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
    option = arguments.pop(0) if arguments[0].startswith("--") else None
    client, *runs = arguments
    (_, direct), *others = [(label, read(path)) for label, path in (run.split("=", 1) for run in runs)]
    if option == "--limit":
        direct = {name: line for name, line in direct.items() if line["kind"] == "limit"}
    failures = compare_kinds(client, direct, *others[0]) if option == "--alike" else compare(client, direct, dict(others))
    sys.exit(1 if failures else 0)


main()
