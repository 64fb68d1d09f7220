"""What the overlays render to, and questions about it."""

import json
import os
import pathlib
import subprocess

import yaml

ROOT = pathlib.Path(__file__).parents[3]
KUBERNETES = ROOT / "deploy/kubernetes"
TOOLS = pathlib.Path(os.environ["OTARIA_TOOLS"])
WORKLOADS = ("Deployment", "StatefulSet", "Job")
OPERATOR = "monitoring.coreos.com/"


class Overlay:
    """The objects of one overlay."""

    def __init__(self, name):
        self.name = name
        done = subprocess.run(
            [TOOLS / "kubectl", "kustomize", KUBERNETES / "overlays" / name], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr.strip()
        assert not done.stderr.strip(), done.stderr.strip()  # What is outdated is told there.
        self.objects = list(yaml.safe_load_all(done.stdout))

    def of(self, *kinds):
        return [object for object in self.objects if object["kind"] in kinds]

    def workloads(self):
        return self.of(*WORKLOADS)

    def servers(self):
        """Workloads that go on."""
        return [workload for workload in self.workloads() if workload["kind"] != "Job"]

    def pods(self, selector):
        """Workloads whose pods have these labels."""
        labels = selector.get("matchLabels", selector)
        return [
            workload
            for workload in self.workloads()
            if labels.items() <= workload["spec"]["template"]["metadata"]["labels"].items()
        ]


def name(object):
    return f"{object['kind']} {object['metadata']['name']}"


def pod(workload):
    return workload["spec"]["template"]["spec"]


def container(workload):
    (only,) = pod(workload)["containers"]
    return only


def port_names(workload):
    return {port["name"]: port["containerPort"] for port in container(workload).get("ports", [])}


def environment(workload):
    return {entry["name"]: entry for entry in container(workload).get("env", [])}


def flag(workload, flag):
    """The value behind a flag of the program, if it is given."""
    args = container(workload)["args"]
    return args[args.index(flag) + 1] if flag in args else None


def config(overlay, workload):
    """The text of the config file that a workload mounts."""
    mount = next(mount for mount in container(workload)["volumeMounts"] if mount["name"] == "config")
    assert mount["mountPath"] == flag(workload, "--config"), mount
    volume = next(volume for volume in pod(workload)["volumes"] if volume["name"] == "config")
    (map,) = [m for m in overlay.of("ConfigMap") if m["metadata"]["name"] == volume["configMap"]["name"]]
    return map["data"][mount["subPath"]]


def secrets(workload):
    """The Secrets that a pod refers to, with the key where one is named."""
    found = set()
    for entry in environment(workload).values():
        reference = entry.get("valueFrom", {}).get("secretKeyRef")
        if reference:
            found.add(reference["name"])
    for entry in container(workload).get("envFrom", []):
        found.add(entry["secretRef"]["name"])
    for volume in pod(workload).get("volumes", []):
        if "secret" in volume:
            found.add(volume["secret"]["secretName"])
    return found


def operator_objects(overlay):
    return json.dumps([object for object in overlay.objects if object["apiVersion"].startswith(OPERATOR)])
