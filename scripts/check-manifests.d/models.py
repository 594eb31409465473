"""Writes a TypeScript program that holds each resource of the Prometheus Operator in the given files to its model."""

import json
import sys

import yaml

KINDS = ("PrometheusRule", "ServiceMonitor")


def main():
    print(f'import {{ {", ".join(KINDS)} }} from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";')
    resources = 0
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            for resource in yaml.safe_load_all(file):
                kind = resource["kind"]
                if kind not in KINDS:
                    continue
                if resource["apiVersion"] != "monitoring.coreos.com/v1":
                    sys.exit(f"{path}: {kind} of another version than the models'")
                # The models know of themselves what they are.
                fields = {key: value for key, value in resource.items() if key not in ("apiVersion", "kind")}
                print(f"new {kind}({json.dumps(fields)}).validate();")
                resources += 1
    if not resources:
        sys.exit("there is no resource of the Prometheus Operator to look at")


main()
