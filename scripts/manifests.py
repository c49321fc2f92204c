#!/usr/bin/env python3
"""Judges rendered manifests: each against its kind's schema, and all against each other.

    manifests.py --versions 1.30 1.37 --foreign JSON -- FILE...

Schemas are those of kubernetes-validate, strict, which refuses what it does not know. The rest is what no
schema can say: that selectors select, that times add up, that secrets are there.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import kubernetes_validate
import yaml

# Kinds of other projects, which Kubernetes' own schemas have nothing of: scripts/foreign.mjs judges them. They are
# listed one by one, so that a misspelt kind is not taken for one of them.
FOREIGN = {
    ("cert-manager.io/v1", "Certificate"),
    ("cert-manager.io/v1", "ClusterIssuer"),
    ("cert-manager.io/v1", "Issuer"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"),
    ("bitnami.com/v1alpha1", "SealedSecret"),
    ("external-secrets.io/v1", "ExternalSecret"),
    ("external-secrets.io/v1", "SecretStore"),
    ("monitoring.coreos.com/v1", "ServiceMonitor"),
    ("monitoring.coreos.com/v1", "PrometheusRule"),
}

# Seconds that a node may need beyond what it is told.
SPARE = 5
SECRETS = "/run/secrets/sluicegate/"
SMOKE = Path(__file__).with_name("smoke.sh")


class Manifests:
    """What one rendering holds."""

    def __init__(self, path):
        self.path = path
        with open(path, encoding="utf-8") as file:
            self.all = [item for item in yaml.safe_load_all(file) if item]
        self.problems = []

    def of(self, kind, name=None):
        return [
            item
            for item in self.all
            if item["kind"] == kind and name in (None, item["metadata"]["name"])
        ]

    def expect(self, true, what):
        if not true:
            self.problems.append(f"{self.path}: {what}")

    def check(self, versions):
        for item in self.all:
            self.schema(item, versions)
        for deployment in self.of("Deployment"):
            self.deployment(deployment)
        for job in self.of("CronJob"):
            self.job(job)
        self.policies()
        self.routes()

    def schema(self, item, versions):
        if (item["apiVersion"], item["kind"]) in FOREIGN:
            return
        label = f"{item['kind']}/{item['metadata']['name']}"
        for version in versions:
            try:
                kubernetes_validate.validate(item, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                where = ".".join(str(part) for part in error.path)
                self.expect(False, f"{label}: {version}: {where}: {error.message}")
            except kubernetes_validate.SchemaNotFoundError as error:
                self.expect(False, f"{label}: {version}: {error.message}")

    def deployment(self, deployment):
        name = deployment["metadata"]["name"]
        spec = deployment["spec"]
        pod = spec["template"]["spec"]
        labels = spec["template"]["metadata"]["labels"]
        [gateway] = [item for item in pod["containers"] if item["name"] == name]
        [config] = self.of("ConfigMap", name)
        text = config["data"]["sluicegate.yaml"]
        settings = yaml.safe_load(text)

        # The way out fits into the time that the kubelet gives.
        sleep = gateway["lifecycle"]["preStop"]["sleep"]["seconds"]
        drain = seconds(settings["shutdown"]["timeout"])
        grace = pod["terminationGracePeriodSeconds"]
        self.expect(
            grace >= sleep + drain + SPARE,
            f"terminationGracePeriodSeconds: {grace} < {sleep} preStop + {drain} shutdown.timeout + {SPARE}",
        )

        # The scanner looks at the rest of what pods may, but not at this.
        profile = pod["securityContext"].get("appArmorProfile", {}).get("type")
        self.expect(profile == "RuntimeDefault" or "no-apparmor" in self.path, "no AppArmor profile")

        # Selectors select.
        self.expect(spec["selector"]["matchLabels"].items() <= labels.items(), "the Deployment selects no pod")
        ports = {port["name"] for port in gateway["ports"]}
        for service in self.of("Service"):
            own = service["metadata"]["name"]
            self.expect(service["spec"]["selector"].items() <= labels.items(), f"Service/{own} selects no pod")
            for port in service["spec"]["ports"]:
                self.expect(port["targetPort"] in ports, f"Service/{own}: no port {port['targetPort']}")
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            self.expect(gateway[kind]["httpGet"]["port"] in ports, f"{kind}: no such port")
        for budget in self.of("PodDisruptionBudget"):
            selector = budget["spec"]["selector"]["matchLabels"]
            self.expect(selector.items() <= labels.items(), "the disruption budget selects no pod")
            for scaler in self.of("HorizontalPodAutoscaler"):
                self.expect(
                    scaler["spec"]["minReplicas"] > budget["spec"]["minAvailable"],
                    "the disruption budget would keep nodes from being drained",
                )
        for scaler in self.of("HorizontalPodAutoscaler"):
            self.expect("replicas" not in spec, "`replicas` and an autoscaler")
            self.expect(scaler["spec"]["scaleTargetRef"]["name"] == name, "the autoscaler scales nothing")

        # What is mounted is there, whole, and can change.
        self.mounts(pod)
        self.expect(
            config["metadata"]["name"] == "sluicegate",
            "the configuration's ConfigMap has a suffix: a change would roll the pods instead of being loaded",
        )

        # Rows wait for the database on a disk: the working directory is a megabyte of memory.
        if "postgres" in settings.get("store", {}):
            directory = settings.get("ledger", {}).get("directory", "data/ledger")
            disks = {volume["name"] for volume in pod["volumes"] if volume.get("emptyDir", {}).get("medium") != "Memory"}
            mounted = [mount["mountPath"] for mount in gateway.get("volumeMounts", []) if mount["name"] in disks]
            self.expect(any(directory.startswith(f"{path}/") for path in mounted), f"ledger.directory: {directory} is on no volume")

        # Where there is a volume for the audit log, the log is below it.
        for volume in pod["volumes"]:
            if volume.get("persistentVolumeClaim", {}).get("claimName") == "sluicegate-audit" and "/component-" not in self.path:
                [path] = [mount["mountPath"] for mount in gateway["volumeMounts"] if mount["name"] == volume["name"]]
                directory = settings["audit"]["directory"]
                self.expect(directory.startswith(f"{path}/"), f"audit.directory: {directory} is not on its volume")

        # Each secret that the configuration asks for is made, where the rendering makes any.
        asked = set(re.findall(rf"file:{re.escape(SECRETS)}([a-z0-9-]+)", text))
        made = [set(item["spec"]["encryptedData"]) for item in self.of("SealedSecret")]
        made += [{entry["secretKey"] for entry in item["spec"]["data"]} for item in self.of("ExternalSecret")]
        for keys in made:
            self.expect(asked <= keys, f"secrets that nobody makes: {sorted(asked - keys)}")
            # A mounted file is as old as its pod: without its date, no alert would say that a secret is old.
            undated = sorted(key for key in keys if not key.endswith(".rotated") and f"{key}.rotated" not in keys)
            self.expect(not undated, f"secrets without the day of their last change: {undated}")
        # Where an overlay is on trial and not a component alone, its listener is the one that is exposed.
        if "/component-" not in self.path:
            port = settings["listeners"]["proxy"]["address"].rpartition(":")[2]
            [exposed] = [item["containerPort"] for item in gateway["ports"] if item["name"] == "http"]
            self.expect(int(port) == exposed, f"listens on {port}, but the pod's port is {exposed}")

    def mounts(self, pod):
        volumes = {volume["name"] for volume in pod["volumes"]}
        configs = {item["metadata"]["name"] for item in self.of("ConfigMap")} | {"database-ca", "mcp-ca", "vault-ca"}
        claims = {item["metadata"]["name"] for item in self.of("PersistentVolumeClaim")}
        for volume in pod["volumes"]:
            if "configMap" in volume:
                self.expect(volume["configMap"]["name"] in configs, f"volume {volume['name']}: no such ConfigMap")
            if "secret" in volume:
                mode = volume["secret"].get("defaultMode", 0o644)
                self.expect(mode & 0o007 == 0, f"volume {volume['name']}: others may read it")
            for source in volume.get("projected", {}).get("sources", []):
                if "serviceAccountToken" in source:
                    mode = volume["projected"].get("defaultMode", 0o644)
                    self.expect(mode & 0o007 == 0, f"volume {volume['name']}: others may read it")
                    # Without an audience, it would be good for the cluster's API.
                    self.expect(source["serviceAccountToken"].get("audience"), f"volume {volume['name']}: a token for the cluster's API")
            if "persistentVolumeClaim" in volume:
                self.expect(volume["persistentVolumeClaim"]["claimName"] in claims, f"volume {volume['name']}: no such claim")
        for container in pod["containers"] + pod.get("initContainers", []):
            self.expect(container.get("image", "").partition(":")[2] not in ("", "latest"), f"{container['name']}: image without a version")
            for mount in container.get("volumeMounts", []):
                self.expect(mount["name"] in volumes, f"no volume {mount['name']}")
                self.expect("subPath" not in mount, f"{mount['name']}: a subPath never changes")

    def job(self, job):
        spec = job["spec"]
        pod = spec["jobTemplate"]["spec"]["template"]["spec"]
        self.mounts(pod)
        # The runbook's promise: what the newest backup lacks is less than an hour's.
        minutes, *rest = spec["schedule"].split()
        minutes = sorted(int(minute) for minute in minutes.split(","))
        gaps = [later - earlier for earlier, later in zip(minutes, minutes[1:] + [minutes[0] + 60])]
        self.expect(rest == ["*"] * 4 and max(gaps) <= 30, "it does not run every half hour")
        longest = spec["jobTemplate"]["spec"]["activeDeadlineSeconds"]
        self.expect(longest < 60 * min(gaps) and longest + 60 * max(gaps) < 3600, "the newest backup can be an hour old")

    def policies(self):
        policies = self.of("NetworkPolicy")
        denying = [item for item in policies if item["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}]
        if self.of("Deployment"):
            self.expect(len(denying) == 1, "no NetworkPolicy denies what is not named")
        labels = [item["spec"]["template"]["metadata"]["labels"] for item in self.of("Deployment")]
        labels += [item["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"] for item in self.of("CronJob")]
        for policy in policies:
            wanted = policy["spec"]["podSelector"].get("matchLabels", {})
            self.expect(
                any(wanted.items() <= pod.items() for pod in labels),
                f"NetworkPolicy/{policy['metadata']['name']} selects no pod",
            )

    def routes(self):
        """Behind each way in by HTTP, scripts/smoke.sh finds what it asks for."""
        for ingress in self.of("Ingress"):
            paths = [path for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]
            self.reaches(ingress, {path["path"]: path["pathType"] for path in paths})
        for route in self.of("HTTPRoute"):
            matches = [match["path"] for rule in route["spec"]["rules"] for match in rule["matches"]]
            self.reaches(route, {path["value"]: path["type"] for path in matches})

    def reaches(self, way, paths):
        for asked in re.findall(r'"\$url(/[^"]+)"', SMOKE.read_text(encoding="utf-8")):
            routed = any(
                asked == path or kind != "Exact" and asked.startswith(f"{path.rstrip('/')}/")
                for path, kind in paths.items()
            )
            self.expect(routed, f"{way['kind']}: scripts/smoke.sh asks for {asked}, which is not routed")


def seconds(duration):
    """A duration of the configuration."""
    number, unit = re.fullmatch(r"(\d+)(s|m|h)", duration).groups()
    return int(number) * {"s": 1, "m": 60, "h": 3600}[unit]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--versions", nargs="+", required=True)
    parser.add_argument("--foreign", required=True, help="where manifests of other projects' kinds are written to")
    parser.add_argument("files", nargs="+")
    options = parser.parse_args()
    problems, count, foreign = [], 0, []
    for path in options.files:
        manifests = Manifests(path)
        manifests.check(options.versions)
        problems += manifests.problems
        count += len(manifests.all)
        # Most components are in a rendering as they are in others.
        for item in manifests.all:
            if (item["apiVersion"], item["kind"]) in FOREIGN and all(item != known["item"] for known in foreign):
                foreign.append({"path": path, "item": item})
    Path(options.foreign).write_text(json.dumps(foreign), encoding="utf-8")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{count} manifests in {len(options.files)} renderings")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
