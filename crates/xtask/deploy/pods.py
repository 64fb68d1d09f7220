"""The pods of the large overlay without a cluster: each workload's command, variables, config and Secrets, in the root folder
of the image, on PostgreSQL, Redis and an S3 store. Only addresses differ: they are free ports of this machine."""

import hashlib
import hmac
import json
import os
import queue
import re
import signal
import subprocess
import urllib.request

import paho.mqtt.client as mqtt

import image
import rendered
from checks import check, equal, eventually
from manifests import DRAIN_SECONDS
from rendered import container, environment, name, pod
from server import Certificates

WORK = image.WORK
KEY = ("deploy-key", "deploy-secret-0123456789abcdef")
SERVICES = {name: os.environ[f"OTARIA_TEST_{name}"] for name in ("POSTGRES", "REDIS", "S3")}


class World:
    """What a cluster would hand to the pods."""

    def __init__(self):
        self.certificates = Certificates(WORK / "certificates")
        self.public_url = None
        self.secrets = {
            "otaria-tls": {
                "tls.crt": self.certificates.chain.read_bytes(),
                "tls.key": self.certificates.key.read_bytes(),
            },
            "otaria-master-key": {"master-key": os.urandom(32)},
            "otaria-access-key": {"id": KEY[0].encode(), "secret": KEY[1].encode()},
            "otaria-store": {"url": SERVICES["POSTGRES"].encode()},
            "otaria-redis": {"url": SERVICES["REDIS"].encode()},
            "otaria-objects": {
                "AWS_ACCESS_KEY_ID": b"deploy",
                "AWS_SECRET_ACCESS_KEY": b"deploy",
                "AWS_REGION": b"us-east-1",
                "AWS_ENDPOINT_URL": SERVICES["S3"].encode(),
                "AWS_ALLOW_HTTP": b"true",
            },
        }

    def variables(self, workload):
        found = {}
        for entry in container(workload).get("envFrom", []):
            found |= {key: value.decode() for key, value in self.secrets[entry["secretRef"]["name"]].items()}
        for key, entry in environment(workload).items():
            reference = entry["valueFrom"]["secretKeyRef"]
            found[key] = self.secrets[reference["name"]][reference["key"]].decode()
        if self.public_url:
            found["OTARIA_PUBLIC_URL"] = self.public_url
        return found

    def root(self, image_root, overlay, workload):
        """The image's root folder with the volumes of one pod that hold files."""
        root = WORK / "pods" / workload["metadata"]["name"]
        subprocess.run(["rm", "-rf", root], check=True)
        root.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-al", image_root, root], check=True)
        volumes = {volume["name"]: volume for volume in pod(workload).get("volumes", [])}
        for mount in container(workload).get("volumeMounts", []):
            volume, path = volumes[mount["name"]], root / mount["mountPath"].lstrip("/")
            if "configMap" in volume:
                # Each process has these ports for itself in a pod; here they share one machine.
                text = re.sub(r'"(?:0\.0\.0\.0|127\.0\.0\.1):\d+"', '"127.0.0.1:0"', rendered.config(overlay, workload))
                path.write_text(text)
            elif "secret" in volume:
                path.mkdir()
                for key, value in self.secrets[volume["secret"]["secretName"]].items():
                    (path / key).write_bytes(value)
                    # As fsGroup and defaultMode make them.
                    os.chown(path / key, 0, image.ID)
                    (path / key).chmod(volume["secret"]["defaultMode"])
        return root


class Process:
    """A workload with one pod."""

    def __init__(self, world, image_root, overlay, workload):
        root = world.root(image_root, overlay, workload)
        command = image.inside(root, *container(workload)["args"], "--json")
        self.name = workload["metadata"]["name"]
        self.log = open(WORK / "pods" / f"{self.name}.log", "w+")
        self.child = subprocess.Popen(
            command, env=world.variables(workload), stdout=subprocess.PIPE, stderr=self.log, text=True
        )
        line = self.child.stdout.readline()
        if not line:
            self.child.wait()
            raise AssertionError(f"{self.name} did not start: {self.said()}")
        self.addresses = json.loads(line)

    def said(self):
        self.log.seek(0)
        return self.log.read()[-500:]

    def get(self, path):
        with urllib.request.urlopen(f"http://{self.addresses['http']}{path}", timeout=5) as answer:
            return answer.read().decode()

    def metric(self, name):
        found = re.findall(rf"^{name}(?:{{[^}}]*}})? ([0-9.]+)$", self.get("/metrics"), re.M)
        return sum(float(value) for value in found)

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        return self.child.wait(DRAIN_SECONDS)

    def kill(self):
        self.child.kill()
        self.child.communicate()


def cli(world, api, *arguments):
    """Asks as an operator does; returns the lines of JSON."""
    variables = {
        "OTARIA_ENDPOINT": f"https://{api.addresses['grpc']}",
        "OTARIA_TLS_CA": str(world.certificates.ca),
        "OTARIA_ACCESS_KEY_ID": KEY[0],
        "OTARIA_ACCESS_KEY_SECRET": KEY[1],
    }
    command = [image.BINARY, *(str(argument) for argument in arguments), "--json"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{arguments}: {done.stderr.strip()}"
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def update(world, api, gateway):
    """A device is updated: gRPC, PostgreSQL, Redis, MQTT with TLS, HTTP and the S3 store have their part in it."""
    package = WORK / "package.bin"
    package.write_bytes(os.urandom(200_000))
    product = cli(world, api, "product", "create", "deploy_check")[0]["product_key"]
    device = cli(world, api, "device", "register", "--product", product, "device-0001")[0]["device"]
    device, secret = device["device_name"], device["device_secret"]
    made = ("firmware", "create", "--file", package, "--product", product, "--version", "2.0.0", "--no-verify")
    firmware = cli(world, api, *made)[0]["firmware_id"]
    job = cli(world, api, "job", "create", "--firmware", firmware, device)[0]["job_id"]

    text = f"clientId{device}deviceName{device}productKey{product}"
    client = mqtt.Client(f"{device}|securemode=2,signmethod=hmacsha256,_ss=1|")
    client.username_pw_set(f"{device}&{product}", hmac.new(secret.encode(), text.encode(), "sha256").hexdigest())
    client.tls_set(str(world.certificates.ca))
    notices = queue.Queue()
    client.on_message = lambda client, data, message: notices.put(json.loads(message.payload)["data"])
    host, port = gateway.addresses["mqtt_tls"].rsplit(":", 1)
    client.connect(host, int(port), 60)
    client.loop_start()
    try:
        notice = notices.get(timeout=30)
        with urllib.request.urlopen(notice["url"], timeout=10) as answer:
            digest = hashlib.md5 if notice["signMethod"] == "Md5" else hashlib.sha256
            equal(digest(answer.read()).hexdigest(), notice["sign"])
        payload = json.dumps({"id": "1", "params": {"version": notice["version"]}})
        client.publish(f"/ota/device/inform/{product}/{device}", payload, qos=1).wait_for_publish(10)
        status = lambda: cli(world, api, "task", "list", job)[0]["task_status"]
        eventually(lambda: status() == "TASK_STATUS_SUCCEEDED", what="success")
    finally:
        client.loop_stop()
        client.disconnect()


def all_of(image_root, migrate, large):
    world = World()
    urllib.request.urlopen(urllib.request.Request(f"{SERVICES['S3']}/otaria-packages", method="PUT"), timeout=10)
    for attempt in ("migrates an empty database", "changes nothing the second time"):
        with check(f"large: the migration's pod {attempt}"):
            (job,) = migrate.workloads()
            command = image.inside(world.root(image_root, migrate, job), *container(job)["args"])
            done = subprocess.run(command, env=world.variables(job), capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stderr.strip()

    running = {}
    workloads = {workload["metadata"]["name"]: workload for workload in large.servers()}
    try:
        for workload in ("otaria-api", "otaria-dispatcher", "otaria-gateway"):
            with check(f"large: the pod of {name(workloads[workload])} starts and is ready"):
                running[workload] = Process(world, image_root, large, workloads[workload])
                world.public_url = f"http://{running['otaria-api'].addresses['http']}"
                running[workload].get("/healthz")
                eventually(lambda: running[workload].get("/readyz"), what="readiness")
        if len(running) < 3:
            return
        api, dispatcher, gateway = running.values()
        with check("large: the dispatcher owns all shards"):
            eventually(lambda: dispatcher.metric("otaria_shards_owned") == 256, what="256 shards")
        with check("large: a device is updated by the three of them"):
            update(world, api, gateway)
        with check("large: the metrics by which pods are counted are those of the right pods"):
            eventually(lambda: dispatcher.metric("otaria_claims_total") >= 1, what="a claim")
            assert "otaria_mqtt_connections" in gateway.get("/metrics")
        for workload, process in running.items():
            with check(f"large: the pod of {workload} ends in order when it is told to"):
                equal(process.stop(), 0)
    finally:
        for process in running.values():
            process.kill()
