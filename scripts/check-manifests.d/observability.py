"""Holds alerts, dashboard and Kubernetes' PrometheusRule to the metrics that src/telemetry registers and docs/operations.md tells.

One line a check; exit code 1 if one failed. With --write the PrometheusRule is made of alerts.yml first. With --queries it only
prints the queries of the dashboard as recording rules, for promtool to parse.
"""

import json
import re
import sys
from pathlib import Path

import yaml

from report import Report

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "deploy/observability/alerts.yml"
TESTS = ROOT / "deploy/observability/alerts.test.yml"
DASHBOARD = ROOT / "deploy/observability/grafana/dashboards/stratus.json"
RULE = ROOT / "deploy/kubernetes/components/monitoring/prometheus-rule.yaml"
DOCS = ROOT / "docs/operations.md"
# What Prometheus adds to each series, and a histogram to its buckets.
ADDED_LABELS = {"job", "instance", "namespace", "le"}

RULE_HEAD = """\
# Made of deploy/observability/alerts.yml by `scripts/check-alerts --write`; change that.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: stratus
  labels: { app.kubernetes.io/name: stratus }
spec:
"""


def registered():
    """The names that Prometheus sees, as the program's source registers them: a counter gets `_total`, a histogram three."""
    source = "\n".join(path.read_text() for path in sorted((ROOT / "src/telemetry").glob("*.rs")))
    units = {"Seconds": "_seconds", "Bytes": "_bytes"}
    call = re.compile(
        r'\.register(?:_with_unit)?\(\s*"(\w+)",\s*"(?:[^"\\]|\\.)*",\s*(?:Unit::(\w+),\s*)?(?:self\.)?(\w+)(?:\.clone\(\))?,?\s*\)',
        re.DOTALL,
    )
    names = {}
    for name, unit, field in call.findall(source):
        name = f"stratus_{name}{units[unit] if unit else ''}"
        kind = re.search(rf"\b{field}: ([^=\n]+),\n", source)
        # A local variable has its type where it is made.
        kind = kind or re.search(rf"let {field} = ([^;\n]+);", source)
        if "Counter" in kind[1]:
            names[f"{name}_total"] = name
        elif "Histogram" in kind[1]:
            names.update({f"{name}{end}": name for end in ("_bucket", "_count", "_sum")})
        else:
            names[name] = name
    if len(re.findall(r"\.register(?:_with_unit)?\(\s*\"", source)) != len(call.findall(source)):
        sys.exit("src/telemetry registers metrics in a way that this program does not know")
    return names


def documented(text):
    """From each metric of the table in the docs, with its ending, to its row: label names and values are words of it."""
    rows = {}
    for line in text.splitlines():
        if line.startswith("| `stratus_"):
            for name in re.findall(r"`(stratus_\w+)`", line.split("|")[1]):
                rows[name] = line
    return rows


def anchors(text):
    """The names of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def queries(dashboard):
    """From what it is to each query of the dashboard, rows included."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield f"panel {panel['title']!r}", target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield f"variable {variable['name']!r}", variable["definition"]


def check_query(report, what, query, names, rows):
    """Metrics exist; labels and their values are in the docs."""
    words = re.findall(r"\bstratus_\w+", query)
    report.check(f"{what} asks for something", words)
    for word in words:
        report.check(f"{what}: {word} exists", word in names)
    for name, labels in re.findall(r"\b(stratus_\w+)\{([^}]*)\}", query):
        row = rows.get(name) or rows.get(names.get(name, ""), "")
        for label, values in re.findall(r'(\w+)\s*(?:=|!=|=~|!~)\s*"([^"]*)"', labels):
            report.check(f"{what}: {name} has the label {label}", label in ADDED_LABELS or f"`{label}`" in row)
            if label in ADDED_LABELS | {"route", "status"}:
                continue
            for value in values.split("|"):
                report.check(f"{what}: {name} has {label}={value}", f"`{value}`" in row)


def check_dashboard(report, dashboard, names, rows):
    taken = {}
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                other = taken.setdefault((x, y), panel["title"])
                if other != panel["title"] or x >= 24:
                    report.check(f"panel {panel['title']!r} has a place of its own, not that of {other!r}", False)
        if panel["type"] != "row":
            report.check(f"panel {panel['title']!r} says what it shows", panel.get("description"))
            report.check(
                f"panel {panel['title']!r} asks the data source that is chosen",
                all(asker["datasource"]["uid"] == "${datasource}" for asker in [panel, *panel["targets"]]),
            )
    numbers = [panel["id"] for panel in dashboard["panels"]]
    report.check("each panel has a number of its own", len(numbers) == len(set(numbers)))
    for what, query in queries(dashboard):
        check_query(report, what, query, names, rows)
        if what.startswith("panel"):
            chosen = query.count('instance=~"$instance"')
            report.check(f"{what} asks for the replicas that are chosen", chosen == len(re.findall(r"\bstratus_\w+", query)))
    # What nobody looks at is not worth a scrape; sums and counts of histograms are there for other people's questions.
    asked = " ".join(query for _, query in queries(dashboard)) + ALERTS.read_text()
    for name in names:
        if not name.endswith(("_sum", "_count")):
            report.check(f"{name} is on the dashboard or in an alert", re.search(rf"\b{name}\b", asked))


def check_alerts(report, rules, names, rows, docs):
    tests = TESTS.read_text()
    known = anchors(docs)
    for rule in rules:
        alert = rule["alert"]
        check_query(report, alert, rule["expr"], names, rows)
        texts = rule["annotations"]
        report.check(f"{alert} says what is the matter and what to do", all(texts.get(key) for key in ("summary", "description")))
        file, _, anchor = texts.get("runbook", "").partition("#")
        report.check(f"{alert}: its runbook {anchor} is there", file == "docs/operations.md" and anchor in known)
        report.check(f"{alert} wakes somebody or waits", rule["labels"].get("severity") in ("critical", "warning"))
        report.check(f"{alert} is seen to fire in alerts.test.yml", f'alertname="{alert}"' in tests)
        report.check(f"{alert} is in the docs' table of alerts", f"| `{alert}`" in docs)
    told = set(re.findall(r"^\| `(Stratus\w+)`", docs, re.MULTILINE))
    for alert in sorted(told - {rule["alert"] for rule in rules}):
        report.check(f"{alert} of the docs is in alerts.yml", False)


def print_queries():
    rules = []
    for what, query in queries(json.loads(DASHBOARD.read_text())):
        if what.startswith("panel"):
            query = query.replace("$__rate_interval", "1m").replace("$instance", ".*")
            rules.append({"record": f"query:{len(rules)}", "expr": query})
    print(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))


def main():
    if "--queries" in sys.argv:
        return print_queries()
    if "--write" in sys.argv:
        text = ALERTS.read_text()
        groups = text[text.index("groups:"):]
        RULE.write_text(RULE_HEAD + "".join(f"  {line}" if line.strip() else line for line in groups.splitlines(True)))
    report = Report()
    docs = DOCS.read_text()
    names, rows = registered(), documented(docs)
    report.section("metrics: each that is registered is in the table of docs/operations.md, and each of the table is registered")
    for name, base in names.items():
        report.check(f"{name} is in the table", name in rows or base in rows)
    for name in rows:
        report.check(f"{name} of the table is registered", name in names or name in names.values())
    report.section("alerts: metrics, labels, texts, runbooks, tests")
    alerts = yaml.safe_load(ALERTS.read_text())
    check_alerts(report, [rule for group in alerts["groups"] for rule in group["rules"]], names, rows, docs)
    report.section("the PrometheusRule has the rules of alerts.yml (else: scripts/check-alerts --write)")
    report.check("the two are equal", yaml.safe_load(RULE.read_text())["spec"] == alerts)
    report.section("dashboard: metrics, labels, places, data source, variables")
    dashboard = json.loads(DASHBOARD.read_text())
    report.check("its variables are data source and instance", [v["name"] for v in dashboard["templating"]["list"]] == ["datasource", "instance"])
    check_dashboard(report, dashboard, names, rows)
    report.end()


main()
