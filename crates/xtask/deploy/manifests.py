"""Every object against the schema of its kind, and the objects against each other."""

import os
import pathlib
import subprocess
import tomllib

import kubernetes_validate

import rendered
from checks import check, equal
from rendered import container, environment, flag, name, pod, port_names

# The oldest that has what we use, and the newest.
VERSIONS = ("1.30", "1.37")
# How long a graceful stop may take, see deploy/README.md.
DRAIN_SECONDS = 25
BINARY = os.environ["OTARIA_BIN"]
WORK = pathlib.Path(os.environ["OTARIA_WORK"])


def schemas(overlay):
    for version in VERSIONS:
        with check(f"{overlay.name}: every object is one of Kubernetes {version}"):
            for object in overlay.objects:
                if not object["apiVersion"].startswith(rendered.OPERATOR):
                    kubernetes_validate.validate(object, version, strict=True)
    if any(object["apiVersion"].startswith(rendered.OPERATOR) for object in overlay.objects):
        with check(f"{overlay.name}: the objects of the Prometheus operator are its own"):
            script = pathlib.Path(__file__).with_name("operator.mjs")
            done = subprocess.run(
                ["node", script], input=rendered.operator_objects(overlay), capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr.strip()[-400:]


def names(overlay):
    with check(f"{overlay.name}: no object is there twice, and all are in one namespace"):
        places = [(object["kind"], object["metadata"]["name"]) for object in overlay.objects]
        equal(len(places), len(set(places)))
        spaces = {object["metadata"].get("namespace") for object in overlay.objects if object["kind"] != "Namespace"}
        equal(spaces, {"otaria"})
    with check(f"{overlay.name}: no secret is written down, and each that is wanted is documented"):
        equal(overlay.of("Secret"), [])
        page = (rendered.ROOT / "deploy/README.md").read_text()
        for workload in overlay.workloads():
            for secret in rendered.secrets(workload):
                assert f"`{secret}`" in page, f"deploy/README.md does not name {secret}"
            for variable in environment(workload).values():
                assert "value" not in variable, f"{name(workload)}: {variable['name']} is written down"


def hardened(overlay):
    for workload in overlay.workloads():
        with check(f"{overlay.name}: {name(workload)} has no rights that it does not need"):
            spec, only = pod(workload), container(workload)
            equal(spec["automountServiceAccountToken"], False)
            # Variables of the cluster's own, such as OTARIA_GRPC_PORT, would stand beside those of the program.
            equal(spec["enableServiceLinks"], False)
            context = spec["securityContext"]
            equal((context["runAsNonRoot"], context["runAsUser"], context["runAsGroup"]), (True, 65532, 65532))
            equal(context["seccompProfile"], {"type": "RuntimeDefault"})
            context = only["securityContext"]
            equal((context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"]), (False, True))
            equal(context["capabilities"], {"drop": ["ALL"]})
            assert "privileged" not in context and not spec.get("hostNetwork"), "it is privileged"
        with check(f"{overlay.name}: {name(workload)} says what it needs, and which image"):
            resources = container(workload)["resources"]
            equal(set(resources["requests"]), {"cpu", "memory"})
            assert "memory" in resources["limits"], "no limit"
            image = container(workload)["image"]
            assert ":" in image and not image.endswith(":latest"), image
        with check(f"{overlay.name}: {name(workload)} has all volumes that it mounts, and mounts all"):
            volumes = {volume["name"] for volume in pod(workload).get("volumes", [])}
            volumes |= {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
            equal({mount["name"] for mount in container(workload).get("volumeMounts", [])}, volumes)
            selector = workload["spec"].get("selector", {}).get("matchLabels", {})
            assert selector.items() <= workload["spec"]["template"]["metadata"]["labels"].items(), selector


def watched(overlay):
    for workload in overlay.servers():
        with check(f"{overlay.name}: {name(workload)} is probed, and ends in order"):
            only = container(workload)
            for probe, path in (("startup", "/healthz"), ("readiness", "/readyz"), ("liveness", "/healthz")):
                equal(only[f"{probe}Probe"]["httpGet"], {"path": path, "port": "http"})
            pause = only["lifecycle"]["preStop"]["sleep"]["seconds"]
            grace = pod(workload)["terminationGracePeriodSeconds"]
            assert grace >= pause + DRAIN_SECONDS + 5, f"{grace} s are less than {pause} + {DRAIN_SECONDS} and some"


def addresses(overlay):
    with check(f"{overlay.name}: whoever is not let in by name is kept out"):
        (closed,) = [
            policy
            for policy in overlay.of("NetworkPolicy")
            if "ingress" not in policy["spec"] and "egress" not in policy["spec"]
        ]
        equal(sorted(closed["spec"]["policyTypes"]), ["Egress", "Ingress"])
        equal(overlay.pods(closed["spec"]["podSelector"]), overlay.workloads())
    if not overlay.servers():
        return
    for service in overlay.of("Service"):
        with check(f"{overlay.name}: {name(service)} has pods, and they have its ports"):
            pods = overlay.pods(service["spec"]["selector"])
            assert pods, "no pods"
            for workload in pods:
                for port in service["spec"]["ports"]:
                    assert port["targetPort"] in port_names(workload), f"{name(workload)} lacks {port['targetPort']}"
    for workload in overlay.of("StatefulSet"):
        with check(f"{overlay.name}: {name(workload)} has its service"):
            services = {service["metadata"]["name"]: service for service in overlay.of("Service")}
            equal(services[workload["spec"]["serviceName"]]["spec"].get("clusterIP"), "None")
    for policy in overlay.of("NetworkPolicy"):
        with check(f"{overlay.name}: {name(policy)} is about pods that are there, and ports that they have"):
            pods = overlay.pods(policy["spec"]["podSelector"])
            assert pods, "no pods"
            for rule in policy["spec"].get("ingress", []):
                for port in rule["ports"]:
                    assert any(port["port"] in port_names(workload) for workload in pods), port
    for monitor in overlay.of("PodMonitor"):
        with check(f"{overlay.name}: {name(monitor)} finds every server"):
            pods = overlay.pods(monitor["spec"]["selector"])
            for workload in overlay.servers():
                assert workload in pods, name(workload)
                for endpoint in monitor["spec"]["podMetricsEndpoints"]:
                    assert endpoint["port"] in port_names(workload), endpoint


def scaled(overlay):
    scaled = {}
    for scaler in overlay.of("HorizontalPodAutoscaler"):
        with check(f"{overlay.name}: {name(scaler)} counts pods of a workload that names no number itself"):
            target = scaler["spec"]["scaleTargetRef"]
            (workload,) = [w for w in overlay.of(target["kind"]) if w["metadata"]["name"] == target["name"]]
            assert "replicas" not in workload["spec"], "both name a number"
            assert 2 <= scaler["spec"]["minReplicas"] < scaler["spec"]["maxReplicas"]
            scaled[target["name"]] = scaler
    budgets = overlay.of("PodDisruptionBudget")
    for workload in overlay.of("Deployment"):
        with check(f"{overlay.name}: {name(workload)} is scaled, and loses one pod at a time"):
            assert workload["metadata"]["name"] in scaled, "no autoscaler"
            (budget,) = [b for b in budgets if workload in overlay.pods(b["spec"]["selector"])]
            equal((budget["spec"]["maxUnavailable"], overlay.pods(budget["spec"]["selector"])), (1, [workload]))


def configs(overlay):
    """The config of each workload, read by the program as the pod would start it."""
    for workload in overlay.servers():
        with check(f"{overlay.name}: the program takes the config of {name(workload)}"):
            text = rendered.config(overlay, workload)
            file = WORK / "config" / overlay.name / f"{workload['metadata']['name']}.toml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            args = ["--config", str(file), "--check-config"]
            role = flag(workload, "--role")
            args += ["--role", role] if role else []
            secret = {"OTARIA_STORE_URL": "postgres://a:b@c/d", "OTARIA_REDIS_URL": "redis://a"}
            given = {key: value for key, value in secret.items() if key in environment(workload)}
            done = subprocess.run([BINARY, "serve", *args], env=given, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr.strip()
        with check(f"{overlay.name}: {name(workload)} opens the ports that it listens on, and none in plain"):
            parsed = tomllib.loads(text)
            roles = [role] if role else parsed["roles"]
            port = lambda listen: int(listen.rsplit(":", 1)[1])
            wanted = {"http": port(parsed["http"]["listen"])}
            if "api" in roles:
                wanted["grpc"] = port(parsed["grpc"]["listen"])
            if "gateway" in roles:
                wanted["mqtts"] = port(parsed["mqtt"]["tls_listen"])
            equal(port_names(workload), wanted)
            assert parsed["mqtt"]["listen"].startswith("127.0.0.1:"), "plain MQTT leaves the pod"
            for face in ("grpc", "mqtt"):
                for key in ("tls_certificate", "tls_key"):
                    assert parsed[face][key].startswith("/etc/otaria/tls/tls."), parsed[face]
            labels = workload["spec"]["template"]["metadata"]["labels"]
            equal({key.split("/")[1] for key in labels if key.startswith("otaria/")}, set(roles))


def all_of(overlay):
    for part in (schemas, names, hardened, watched, addresses, scaled, configs):
        part(overlay)
