"""Holds the built manifests to what we promise of them: what a pod may do, what it is given, who talks to whom.

The first argument is the folder with the built overlays. One line a section; exit code 1 if something does not hold.
"""

import base64
import ipaddress
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

from report import Report

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy/kubernetes"
# What one connection takes (docs/armour.md), idle memory and the meters of addresses (docs/access.md), in bytes.
CONNECTION, IDLE, METERS = 30_000, 10_000_000, 36 << 20
UNITS = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def source(path):
    return (ROOT / path).read_text()


def settings_known():
    """Every setting with its default; a secret `k` is also known as `k_file`."""
    known = {
        f"{section}.{key}": value
        for section, keys in tomllib.loads(source("config/default.toml")).items()
        for key, value in keys.items()
    }
    secrets = re.search(r"const SECRETS: [^=]+= \[([^\]]+)\]", source("src/config/reader.rs"))[1]
    secrets = re.findall(r'"([^"]+)"', secrets)
    known.update({f"{secret}_file": "" for secret in secrets})
    return known, secrets


def written_by_init():
    """The files that `stratus init` writes, and those of them that Redis gets: the lists that its own tests hold it to."""
    text = source("src/provision/mod.rs") + source("src/provision/logins.rs")
    names = dict(re.findall(r'const (\w+): &str = "([^"]+)";', text))
    tests = source("src/provision/tests.rs")

    def files(pattern):
        words = [word.strip() for word in re.search(pattern, tests)[1].split(",") if word.strip()]
        return {word.strip('"') if word.startswith('"') else names[word] for word in words}

    return files(r"const ALL: [^=]+= \[([^\]]+)\]"), files(r"let for_redis = \[([^\]]+)\]")


def quantity(text):
    """Bytes of a memory quantity such as 64Mi."""
    number, unit = re.fullmatch(r"(\d+)(\w*)", str(text)).groups()
    return int(number) * UNITS[unit]


class Overlay:
    """One built overlay."""

    def __init__(self, path):
        self.name = path.stem
        self.resources = list(yaml.safe_load_all(path.read_text()))

    def all(self, *kinds):
        return [resource for resource in self.resources if resource["kind"] in kinds]

    def get(self, kind, name):
        return next((r for r in self.all(kind) if r["metadata"]["name"] == name), None)

    def pods(self):
        """The name of what makes them, and the pod's spec."""
        for resource in self.resources:
            template = resource.get("spec", {}).get("template") if isinstance(resource.get("spec"), dict) else None
            if template:
                yield f"{self.name}, {resource['kind']} {resource['metadata']['name']}", template["spec"]

    def stratus(self):
        return self.get("Deployment", "stratus")["spec"]["template"]["spec"]

    def environment(self):
        """All variables of Stratus, by name."""
        container = self.stratus()["containers"][0]
        found = {}
        for origin in container.get("envFrom", []):
            found.update(self.get("ConfigMap", origin["configMapRef"]["name"])["data"])
        found.update({variable["name"]: variable.get("value", "") for variable in container.get("env", [])})
        return found

    def settings(self, known):
        """Every setting as Stratus sees it, those of the environment as text."""
        given = {name.removeprefix("STRATUS__").lower().replace("__", "."): value for name, value in self.environment().items()}
        return {**known, **given}


def pods_are_hardened(report, overlay):
    for what, pod in overlay.pods():
        context = pod.get("securityContext", {})
        report.check(f"{what}: not root", context.get("runAsNonRoot") is True)
        for key in ("runAsUser", "runAsGroup", "fsGroup"):
            report.check(f"{what}: {key} 65532", context.get(key) == 65532)
        report.check(f"{what}: seccomp RuntimeDefault", context.get("seccompProfile") == {"type": "RuntimeDefault"})
        report.check(f"{what}: no token of the API server", pod.get("automountServiceAccountToken") is False)
        account = overlay.get("ServiceAccount", pod.get("serviceAccountName"))
        report.check(f"{what}: a service account of its own without a token", account and account["automountServiceAccountToken"] is False)
        report.check(f"{what}: no variables of other services", pod.get("enableServiceLinks") is False)
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            report.check(f"{what}: no {key}", not pod.get(key))
        for volume in pod.get("volumes", []):
            report.check(f"{what}: volume {volume['name']} is none of the node's", "hostPath" not in volume)
            if "secret" in volume:
                report.check(f"{what}: secrets are for the owner and the group only", volume["secret"].get("defaultMode") == 0o440)
        for container in pod["containers"] + pod.get("initContainers", []):
            own = container.get("securityContext", {})
            name = f"{what}, {container['name']}"
            report.check(f"{name}: no privilege escalation", own.get("allowPrivilegeEscalation") is False)
            report.check(f"{name}: read-only root file system", own.get("readOnlyRootFilesystem") is True)
            report.check(f"{name}: no capabilities", own.get("capabilities") == {"drop": ["ALL"]})
            report.check(f"{name}: nothing loosened", set(own) <= {"allowPrivilegeEscalation", "readOnlyRootFilesystem", "capabilities"})
            for part in ("requests", "limits"):
                report.check(f"{name}: {part}", {"cpu", "memory"} <= set(container.get("resources", {}).get(part, {})))
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                report.check(f"{name}: {probe}", probe in container)
            for mount in container.get("volumeMounts", []):
                report.check(f"{name}: {mount['mountPath']} is renewed", "subPath" not in mount)
                report.check(f"{name}: {mount['mountPath']} is read-only", mount.get("readOnly") or mount["mountPath"] == "/data")
    namespace = overlay.all("Namespace")[0]["metadata"]["labels"]
    report.check(f"{overlay.name}: the namespace takes hardened pods only", namespace.get("pod-security.kubernetes.io/enforce") == "restricted")


def secrets_are_files(report, overlay, known, secrets, init):
    files, for_redis = init
    for what, pod in overlay.pods():
        given = {volume["secret"]["secretName"] for volume in pod.get("volumes", []) if "secret" in volume}
        own = f"{pod['serviceAccountName']}-secrets"
        report.check(f"{what}: it sees its own secrets and no others", len(given) == 1 and all(name.startswith(own) for name in given))
        projected = [volume["name"] for volume in pod.get("volumes", []) if "projected" in volume or "csi" in volume]
        report.check(f"{what}: nothing brings it others by another way", not projected)
        for container in pod["containers"] + pod.get("initContainers", []):
            for variable in container.get("env", []):
                report.check(f"{what}: {variable['name']} is no secret", "secretKeyRef" not in str(variable.get("valueFrom")))
            for origin in container.get("envFrom", []):
                report.check(f"{what}: no Secret becomes variables", "secretRef" not in origin)
    for name, value in overlay.environment().items():
        setting = name.removeprefix("STRATUS__").lower().replace("__", ".")
        report.check(f"{overlay.name}: {name} is a setting of config/default.toml", name.startswith("STRATUS__") and setting in known)
        # A path or an address has other characters soon, a secret has none for long.
        looks = setting in secrets or re.search(r"[A-Za-z0-9+_=-]{24}", value)
        report.check(f"{overlay.name}: the value of {name} is no secret", not looks)
    for resource in overlay.all("ConfigMap"):
        for key, value in resource["data"].items():
            report.check(f"{overlay.name}: {key} of {resource['metadata']['name']} is no key", "PRIVATE KEY" not in value)
    mounted = overlay.get("Secret", "stratus-secrets")["data"]
    named = {value.removeprefix("/secrets/") for value in overlay.environment().values() if value.startswith("/secrets/")}
    report.check(f"{overlay.name}: Stratus has each file that its settings name, and no other", set(mounted) == named)
    report.check(f"{overlay.name}: `stratus init` writes all but the upstream's key", set(mounted) - files == {"openweathermap-key"})
    for resource in overlay.all("Secret"):
        values = {base64.b64decode(value) for value in resource["data"].values()}
        report.check(f"{overlay.name}: {resource['metadata']['name']} was made of files", values == {b"a placeholder\n"})
        if resource["metadata"]["name"].startswith("redis-secrets"):
            report.check(f"{overlay.name}: Redis has its four files only", set(resource["data"]) == for_redis)


def numbers_agree(report, overlay, known):
    settings = overlay.settings(known)
    # It is set here; a version that does not know it yet refuses it, which is told above.
    delay, drain = int(settings.get("server.shutdown_delay_secs", 0)), int(settings["server.drain_secs"])
    pod = overlay.stratus()
    report.check(
        f"{overlay.name}: the grace period is three seconds and more above shutdown_delay_secs and drain_secs",
        pod["terminationGracePeriodSeconds"] >= delay + drain + 3 and delay > 0,
    )
    container = pod["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for name, section in (("http", "server"), ("admin", "admin")):
        address, port = settings[f"{section}.listen"].rsplit(":", 1)
        report.check(f"{overlay.name}: {section}.listen is port {name}", int(port) == ports[name])
        report.check(f"{overlay.name}: {section}.listen is reached from elsewhere", ipaddress.ip_address(address.strip("[]")).is_unspecified)
    report.check(f"{overlay.name}: beyond loopback the admin listener has a token", settings["admin.token_file"])
    for probe, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        report.check(f"{overlay.name}: {probe} is {path} of the admin listener", container[probe]["httpGet"] == {"path": path, "port": "admin"})
        report.check(f"{overlay.name}: {path} exists", f'.route("{path}"' in source("src/http/admin.rs"))
    scaler = overlay.all("HorizontalPodAutoscaler")[0]["spec"]
    deployment = overlay.get("Deployment", "stratus")["spec"]
    rolling = deployment["strategy"]["rollingUpdate"]
    most = scaler["maxReplicas"] + rolling["maxSurge"]
    report.check(f"{overlay.name}: no more replicas than upstream.max_replicas", most <= int(settings["upstream.max_replicas"]))
    report.check(f"{overlay.name}: three replicas or more", scaler["minReplicas"] >= 3 and "replicas" not in deployment)
    report.check(f"{overlay.name}: a rolling update takes none away and adds one", rolling == {"maxUnavailable": 0, "maxSurge": 1})
    report.check(f"{overlay.name}: they are spread", len(pod["topologySpreadConstraints"]) == 2)
    report.check(f"{overlay.name}: one may be away at a time", overlay.all("PodDisruptionBudget")[0]["spec"]["maxUnavailable"] == 1)
    memory, connections = int(settings["cache.memory_max_bytes"]), int(settings["server.max_connections"])
    needed = IDLE + memory + connections * CONNECTION + METERS
    limit = quantity(container["resources"]["limits"]["memory"])
    report.check(f"{overlay.name}: the memory limit has room for all limits of the settings, and a quarter", limit >= needed * 5 / 4)
    report.check(f"{overlay.name}: Stratus may read what its group may", settings["insecure.allow_group_readable_secrets"] == "true")
    report.check(f"{overlay.name}: least privilege is required", settings["redis.require_least_privilege"] == "true")


def who_talks_to_whom(report, overlay, rows):
    policies = {policy["metadata"]["name"]: policy["spec"] for policy in overlay.all("NetworkPolicy")}
    for policy, row in rows.items():
        report.check(f"{overlay.name}: policy {policy} exists", policy in policies)
        spec = policies.get(policy, {})
        ports = {
            str(overlay_port(overlay, port["port"]))
            for way in ("ingress", "egress")
            for rule in spec.get(way) or []
            for port in rule.get("ports", [{"port": "any"}])
        }
        report.check(f"{overlay.name}: policy {policy} opens the ports of its row", ports == set(re.findall(r"\d+", row)))
    report.check(f"{overlay.name}: each policy has a row in README.md", set(policies) == set(rows))
    deny = policies.get("default-deny")
    report.check(f"{overlay.name}: what no policy allows is refused", deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
    for name, spec in policies.items():
        whose = {"matchLabels": {"app.kubernetes.io/name": name.split("-")[0]}}
        report.check(f"{overlay.name}: {name} is for the pods that it is named after", name == "default-deny" or spec["podSelector"] == whose)
        for rule in [*(spec.get("ingress") or []), *(spec.get("egress") or [])]:
            peers = rule.get("from") or rule.get("to")
            report.check(f"{overlay.name}: {name} names whom it lets through", peers and all(map(is_named, peers)))
    blocks = [peer["ipBlock"] for rule in policies["stratus-to-upstream"]["egress"] for peer in rule["to"]]
    for inside in ("10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "192.0.0.192", "127.0.0.1", "::1", "fd00:ec2::254", "fe80::1"):
        report.check(f"{overlay.name}: {inside} is no upstream", not reached(inside, blocks))
    for outside in ("1.1.1.1", "172.15.0.1", "203.0.114.1", "2606:4700::1111"):
        report.check(f"{overlay.name}: {outside} may be an upstream", reached(outside, blocks))
    for service in overlay.all("Service"):
        spec, name = service["spec"], service["metadata"]["name"]
        report.check(f"{overlay.name}: service {name} is not reached from outside", spec.get("type", "ClusterIP") == "ClusterIP")
        admin = any(port["targetPort"] == "admin" for port in spec["ports"])
        report.check(f"{overlay.name}: only stratus-admin leads to the admin listener", admin == (name == "stratus-admin"))
    for ingress in overlay.all("Ingress"):
        backends = [path["backend"]["service"] for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]
        report.check(f"{overlay.name}: the ingress leads to callers' port only", all(b == {"name": "stratus", "port": {"name": "http"}} for b in backends))
        hosts = {rule["host"] for rule in ingress["spec"]["rules"]}
        report.check(f"{overlay.name}: the ingress has TLS", hosts == {host for tls in ingress["spec"]["tls"] for host in tls["hosts"]})
        report.check(f"{overlay.name}: behind an ingress there are trusted proxies", overlay.environment().get("STRATUS__SERVER__TRUSTED_PROXIES"))


def is_named(peer):
    """Whether a peer of a policy is somebody: a selector without a label, or none at all, is everybody."""
    selectors = [selector for name, selector in peer.items() if name.endswith("Selector")]
    return "ipBlock" in peer or bool(selectors) and all(any(selector.values()) for selector in selectors)


def overlay_port(overlay, port):
    """The number of a named port of Stratus."""
    ports = {p["name"]: p["containerPort"] for p in overlay.stratus()["containers"][0]["ports"]}
    return ports.get(port, port)


def reached(address, blocks):
    address = ipaddress.ip_address(address)
    inside = lambda network: address in ipaddress.ip_network(network)
    return any(inside(block["cidr"]) and not any(map(inside, block.get("except", []))) for block in blocks)


def policy_rows(readme):
    """From each policy of the README's table to the cell with its ports."""
    rows = {}
    for line in readme.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and re.fullmatch(r"`[a-z-]+`", cells[3]):
            rows[cells[3].strip("`")] = cells[2]
    return rows


def repository(report):
    tracked = subprocess.run(["git", "ls-files", "deploy"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    report.check("there are manifests", tracked)
    for path in tracked:
        report.check(f"{path} is no secret", "/secrets/" not in path and not path.endswith((".key", ".crt")))
        report.check(f"{path} has no private key", "PRIVATE KEY-----" not in (ROOT / path).read_text())
    report.check("git ignores what `stratus init` writes", not subprocess.run(
        ["git", "check-ignore", "--quiet", "deploy/kubernetes/overlays/example/secrets/admin-token"], cwd=ROOT, check=False).returncode)
    report.check("redis.conf of components/redis is that of the root", source("redis.conf") == (FOLDER / "components/redis/redis.conf").read_text())
    version = tomllib.loads(source("Cargo.toml"))["package"]["version"]
    for path in FOLDER.glob("overlays/*/kustomization.yaml"):
        images = yaml.safe_load(path.read_text())["images"]
        report.check(f"{path.parent.name}: the image is this version's", [image["newTag"] for image in images] == [version])


def main():
    report = Report()
    known, secrets = settings_known()
    init, rows = written_by_init(), policy_rows((FOLDER / "README.md").read_text())
    overlays = [Overlay(path) for path in sorted(Path(sys.argv[1]).glob("*.yaml"))]
    sections = (
        ("pods: who they run as, what they may do and take", pods_are_hardened, ()),
        ("secrets are files, settings exist, and no value looks like a secret", secrets_are_files, (known, secrets, init)),
        ("numbers agree: grace period, replicas, memory, ports, probes", numbers_agree, (known,)),
        ("who talks to whom: policies, services and ingresses are those of README.md", who_talks_to_whom, (rows,)),
    )
    for title, section, more in sections:
        report.section(title)
        for overlay in overlays:
            section(report, overlay, *more)
    report.section("the repository: no secret in it, copies are the same, versions agree")
    repository(report)
    report.end()


main()
