#!/usr/bin/env python3
"""Checks rendered manifests: kubectl kustomize k8s/base | scripts/check_k8s.py TOOLS_FOLDER

Each object is validated against the JSON schema of its kind in its strict form (a field that Kubernetes does not know is an
error), for the oldest and the newest Kubernetes we support. Then come our own rules, which no schema has. Everything
that is wrong is printed; the exit code is 1 if anything is. Reads no cluster and no network.
"""

import functools
import json
import pathlib
import re
import sys

tools = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(tools / "python"))

import jsonschema  # noqa: E402
from ruamel.yaml import YAML  # noqa: E402

KUBERNETES = ["1.29", "1.37"]
SERVICES = {"sale", "inventory", "waiting-room", "checkout", "order-worker", "payment"}
SCALED = {"inventory", "waiting-room", "checkout"}
PORTS = {"grpc": 50051, "internal": 50061, "http": 9464, "routes": 8080}
PROBES = {"startupProbe": "/livez", "readinessProbe": "/readyz", "livenessProbe": "/livez"}
# Those with HTTP routes of their own.
ROUTED = {"waiting-room", "payment"}

problems = []


def require(condition, subject, problem):
    if not condition:
        problems.append(f"{subject}: {problem}")


def name_of(obj):
    return f"{obj['kind']}/{obj['metadata']['name']}"


def schemas(version):
    return tools / "python/kubernetes_validate/kubernetes-json-schema" / f"v{version}.0-local-strict"


@functools.cache
def definitions(version):
    return json.loads((schemas(version) / "_definitions.json").read_text())


def check_schema(obj, version):
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", obj["apiVersion"])
    file = schemas(version) / f"{obj['kind'].lower()}-{group}.json"
    if not file.exists():
        problems.append(f"{name_of(obj)}: Kubernetes {version} has no {obj['kind']} in {obj['apiVersion']}")
        return
    schema = json.loads(file.read_text())
    resolver = jsonschema.RefResolver("", schema, store={"/api/_definitions.json": definitions(version)})
    validator = jsonschema.Draft202012Validator(schema, resolver=resolver)
    for error in validator.iter_errors(obj):
        where = ".".join(str(part) for part in error.absolute_path)
        problems.append(f"{name_of(obj)}: {where}: {error.message} (Kubernetes {version})")


def pod_of(obj):
    if obj["kind"] == "Deployment":
        return obj["spec"]["template"]
    if obj["kind"] == "CronJob":
        return obj["spec"]["jobTemplate"]["spec"]["template"]
    return None


def check_pod(subject, pod, accounts):
    spec = pod["spec"]
    security = spec.get("securityContext", {})
    require(security.get("runAsNonRoot") is True, subject, "the pod must set runAsNonRoot")
    require(
        security.get("seccompProfile", {}).get("type") == "RuntimeDefault",
        subject,
        "the pod must set seccompProfile RuntimeDefault",
    )
    require(spec.get("serviceAccountName") in accounts, subject, "its ServiceAccount is not among the manifests")
    for container in spec["containers"] + spec.get("initContainers", []):
        security = container.get("securityContext", {})
        who = f"{subject} container {container['name']}"
        require(security.get("allowPrivilegeEscalation") is False, who, "must forbid privilege escalation")
        require(security.get("readOnlyRootFilesystem") is True, who, "must have a read-only root file system")
        require(security.get("capabilities", {}).get("drop") == ["ALL"], who, "must drop all capabilities")
        resources = container.get("resources", {})
        require({"cpu", "memory"} <= resources.get("requests", {}).keys(), who, "must request cpu and memory")
        require("memory" in resources.get("limits", {}), who, "must limit memory")
        tag = container["image"].rpartition(":")[2]
        require(tag not in ("latest", container["image"]), who, "its image must name a version")
        # Our own image has no registry here: an overlay says where it was pushed, and by which digest.
        if "/" in container["image"]:
            require("@sha256:" in container["image"], who, "its image must be named by its digest")


def selects(selector, labels):
    return bool(selector) and selector.items() <= labels.items()


def check_deployment(obj, objects):
    subject = name_of(obj)
    name = obj["metadata"]["name"]
    spec = obj["spec"]
    pod = spec["template"]
    scalers = [
        o
        for o in objects
        if o["kind"] == "HorizontalPodAutoscaler" and o["spec"]["scaleTargetRef"]["name"] == name
    ]
    if scalers:
        require("replicas" not in spec, subject, "an autoscaler owns the number of pods: leave out `replicas`")
    else:
        require(spec.get("replicas", 0) >= 2, subject, "needs two replicas, so that one may die")
    require(bool(scalers) == (name in SCALED), subject, "exactly inventory, waiting-room and checkout are autoscaled")
    require(pod["spec"].get("automountServiceAccountToken") is False, subject, "must not mount a token")
    require(pod["spec"].get("terminationGracePeriodSeconds") == 45, subject, "must have 45 s to drain")
    require(pod["spec"].get("topologySpreadConstraints"), subject, "must be spread over zones and nodes")
    (container,) = pod["spec"]["containers"]
    require(container.get("args") == [name], subject, f"its argument must name the service: args: [{name}]")
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    require(ports == PORTS, subject, f"must listen on {PORTS}")
    # Not gRPC: Kubernetes' gRPC probes know no TLS.
    for probe, path in PROBES.items():
        http = container.get(probe, {}).get("httpGet", {})
        require(http == {"path": path, "port": "http"}, subject, f"{probe} must be HTTP, {path} on port http")
    for variable in container.get("env", []):
        secret = re.search(r"URL$|KEY$|SECRETS$", variable["name"]) and not variable["name"].endswith("JWKS_URL")
        require(not (secret and "value" in variable), subject, f"{variable['name']} must come from a Secret")

    labels = pod["metadata"]["labels"]
    services = [
        o for o in objects if o["kind"] == "Service" and selects(o["spec"].get("selector", {}), labels)
    ]
    require([s["metadata"]["name"] for s in services] == [name], subject, "exactly its own Service must select it")
    for service in services:
        protocols = {port["name"]: port.get("appProtocol") for port in service["spec"]["ports"]}
        expected = {"grpc": "grpc", "internal": "grpc", "http": "http"}
        if name in ROUTED:
            expected["routes"] = "http"
        require(protocols == expected, name_of(service), "must name the ports and their protocols")
    budgets = [
        o
        for o in objects
        if o["kind"] == "PodDisruptionBudget" and selects(o["spec"]["selector"]["matchLabels"], labels)
    ]
    require(len(budgets) == 1, subject, "must have one PodDisruptionBudget")


def sections_of(file):
    """The keys of each section of a configuration's defaults."""
    sections = {}
    for line in file.read_text().splitlines():
        if match := re.match(r"\[(.+)\]", line):
            keys = sections.setdefault(match[1], set())
        elif match := re.match(r"([a-z0-9_-]+) *=", line):
            keys.add(match[1])
    return sections


def keys_of(service):
    """The keys of a service's configuration as the variables that set them, read from its defaults."""
    root = pathlib.Path(__file__).parent.parent
    file = root / "services" / service / "config.default.toml"
    require(file.exists(), f"Deployment/{service}", f"{file} is missing, so that its variables cannot be checked")
    own = sections_of(file) if file.exists() else {}
    # A service's own file names the common sections that it has; every service has these.
    own.setdefault("server", set())
    own.setdefault("access", set())
    own.setdefault("telemetry", set())
    common = {}
    for defaults in root.glob("libs/*/config.default.toml"):
        common.update(sections_of(defaults))
    keys = set()
    for section, names in own.items():
        shared = common.get('peers."*"' if section.startswith("peers.") else section, set())
        for name in names | shared:
            path = f"{section}.{name}".replace("-", "_").upper()
            keys.add("FLASHSALE_" + path.replace(".", "__"))
    return keys


def check_variables(objects):
    """A service refuses a key that it does not know and passes over a whole section: a typing error ends here instead."""
    known = {service: keys_of(service) for service in SERVICES}
    for obj in (o for o in objects if o["kind"] == "Deployment" and o["metadata"]["name"] in SERVICES):
        (container,) = obj["spec"]["template"]["spec"]["containers"]
        for variable in container.get("env", []):
            name = variable["name"]
            require(name in known[obj["metadata"]["name"]], name_of(obj), f"the service has no key for {name}")
    for obj in (o for o in objects if o["kind"] == "ConfigMap"):
        for name in obj["data"]:
            require(any(name in keys for keys in known.values()), name_of(obj), f"no service has a key for {name}")


def check_autoscaler(obj):
    subject = name_of(obj)
    up = obj["spec"]["behavior"]["scaleUp"]
    down = obj["spec"]["behavior"]["scaleDown"]
    require(up["stabilizationWindowSeconds"] == 0, subject, "must grow at once")
    require(
        {"type": "Percent", "value": 500, "periodSeconds": 15} in up["policies"], subject, "must grow by 500 % in 15 s"
    )
    require(down["stabilizationWindowSeconds"] >= 600, subject, "must not shrink within ten minutes")


def check_prescale(objects):
    jobs = {o["metadata"]["name"]: o for o in objects if o["kind"] == "CronJob"}
    require(
        set(jobs) == {"prescale-before-sale", "prescale-after-sale"}, "CronJobs", "one before and one after the sale"
    )
    minimum = {
        o["metadata"]["name"]: o["spec"]["minReplicas"] for o in objects if o["kind"] == "HorizontalPodAutoscaler"
    }
    maximum = {
        o["metadata"]["name"]: o["spec"]["maxReplicas"] for o in objects if o["kind"] == "HorizontalPodAutoscaler"
    }
    for job in jobs.values():
        subject = name_of(job)
        (container,) = pod_of(job)["spec"]["containers"]
        args = container["args"]
        require(args[:2] == ["patch", "horizontalpodautoscalers"], subject, "must patch the autoscalers")
        targets = {arg for arg in args[2:] if not arg.startswith("--")}
        require(targets == set(minimum), subject, f"must patch {sorted(minimum)}")
        (patch,) = [json.loads(arg.removeprefix("--patch=")) for arg in args if arg.startswith("--patch=")]
        replicas = patch["spec"]["minReplicas"]
        require(patch == {"spec": {"minReplicas": replicas}}, subject, "must patch minReplicas only")
        if job["metadata"]["name"] == "prescale-before-sale":
            require(
                all(minimum[t] < replicas <= maximum[t] for t in targets), subject, "must raise, within the maximum"
            )
        else:
            require(all(minimum[t] == replicas for t in targets), subject, "must put back what the autoscalers say")
    for role in (o for o in objects if o["kind"] == "Role"):
        for rule in role["rules"]:
            require(set(rule.get("resourceNames", [])) == set(minimum), name_of(role), "must name the autoscalers")
            require(set(rule["verbs"]) <= {"get", "patch"}, name_of(role), "may get and patch only")


def report():
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        sys.exit(1)


def main():
    objects = [obj for obj in YAML(typ="safe", pure=True).load_all(sys.stdin) if obj]
    for obj in objects:
        for version in KUBERNETES:
            check_schema(obj, version)
    # The rules below rely on the schemas.
    report()
    accounts = {o["metadata"]["name"] for o in objects if o["kind"] == "ServiceAccount"}
    for obj in objects:
        require(obj["kind"] != "Secret", name_of(obj), "Secrets do not belong into the repository")
        pod = pod_of(obj)
        if pod:
            check_pod(name_of(obj), pod, accounts)
        if obj["kind"] == "Deployment":
            check_deployment(obj, objects)
        if obj["kind"] == "HorizontalPodAutoscaler":
            check_autoscaler(obj)
    check_prescale(objects)
    check_variables(objects)
    deployed = {o["metadata"]["name"] for o in objects if o["kind"] == "Deployment"}
    require(deployed == SERVICES, "Deployments", f"must be {sorted(SERVICES)}, are {sorted(deployed)}")
    denied = [
        o for o in objects if o["kind"] == "NetworkPolicy" and not o["spec"]["podSelector"] and "ingress" not in o["spec"]
    ]
    require(denied, "NetworkPolicies", "one must deny everything that no other allows")

    report()
    print(f"{len(objects)} objects fit Kubernetes {' and '.join(KUBERNETES)} and the rules of this project")


main()
