"""Documentation: every sample in Python and JavaScript of these pages, as it stands there, against a server.

What follows the language in a fence says what the sample needs: `tls` a server with TLS, `mqtt` a job whose package comes
over MQTT. A sample must end by itself and without a complaint; one that is a device must also have done its update.
"""

import hmac
import os
import pathlib
import re
import subprocess
import sys

from checks import check, end, equal, eventually
from server import KEY_ID, KEY_SECRET, WORK, Certificates, Server

CRATES = pathlib.Path(__file__).parents[2]
NODE = pathlib.Path(os.environ["OTARIA_NODE"])
PLATFORM, DEVICE = CRATES / "otaria-openapi/README.md", CRATES / "otaria-mqtt/README.md"
SECONDS = 90
# Beside these a page has tables and payloads only. Fewer means that a fence was misread.
SAMPLES = {PLATFORM: 4, DEVICE: 3}


def samples(page):
    """Each sample with its heading, its language and the words behind that."""
    heading, found, fence = "", [], None
    for line in page.read_text().splitlines():
        if fence is not None:
            if line == "```":
                found.append((heading, *fence[0], "\n".join(fence[1]) + "\n"))
                fence = None
            else:
                fence[1].append(line)
        elif line.startswith("```"):
            language, *words = line[3:].split() or [""]
            fence = ((language, words), [])
        elif line.startswith("#"):
            heading = line.lstrip("# ")
    assert fence is None, f"a fence of {page} is not closed"
    return [sample for sample in found if sample[1] in ("python", "js")]


def run(language, text, folder, environment):
    """Runs a sample in a folder of its own; raises what it complains of."""
    folder.mkdir(parents=True, exist_ok=True)
    if language == "python":
        command = [sys.executable, "sample.py"]
    else:
        # Where its packages are found.
        link = folder / "node_modules"
        if not link.exists():
            link.symlink_to(NODE / "node_modules")
        command = ["node", "sample.mjs"]
    (folder / command[1]).write_text(text)
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    done = subprocess.run(
        command,
        cwd=folder,
        env={**kept, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    last = (done.stderr.strip().splitlines() or ["no complaint"])[-1]
    assert done.returncode == 0, f"ended with {done.returncode}: {last}"


def name_of(heading):
    return re.sub(r"\W+", "-", heading.lower()).strip("-")


def platforms(server):
    for heading, language, words, text in samples(PLATFORM):
        with check(f"{heading}: the sample does what it says"):
            equal(words, [])
            environment = {
                "IOT_ENDPOINT": f"127.0.0.1:{server.ports['http']}",
                "IOT_ACCESS_KEY_ID": KEY_ID,
                "IOT_ACCESS_KEY_SECRET": KEY_SECRET,
            }
            run(language, text, server.folder / name_of(heading), environment)


def devices(plain, secure):
    for heading, language, words, text in samples(DEVICE):
        server = secure if "tls" in words else plain
        with check(f"{heading}: the sample updates a device"):
            assert set(words) <= {"tls", "mqtt"}, words
            name = name_of(heading)
            environment, job = prepared(server, name, "mqtt" in words)
            run(language, text, server.folder / name, environment)
            task = lambda: server("task", "list", job)[0]
            eventually(
                lambda: task()["task_status"] == "TASK_STATUS_SUCCEEDED", what=f"success, not {task()}"
            )


def prepared(server, name, over_mqtt):
    """A new device with a job that waits for it."""
    product = server("product", "create", f"docs_{name[:16].replace('-', '_')}")[0]["product_key"]
    device = server("device", "register", "--product", product, "device-0001")[0]["device"]
    create = ("firmware", "create", "--file", server.package(f"{name}.bin", 150_001), "--product", product)
    firmware = server(*create, "--version", "2.0.0", "--no-verify")[0]["firmware_id"]
    flags = ("--download-protocol", "mqtt") if over_mqtt else ()
    job = server("job", "create", "--firmware", firmware, *flags, device["device_name"])[0]["job_id"]
    environment = {
        "MQTT_HOST": "127.0.0.1",
        "MQTT_PORT": str(server.ports["mqtt_tls" if server.certificates else "mqtt"]),
        "PRODUCT_KEY": product,
        "DEVICE_NAME": device["device_name"],
        "DEVICE_SECRET": device["device_secret"],
    }
    if server.certificates:
        environment["CA_FILE"] = str(server.certificates.ca)
    return environment, job


def logins():
    """The example logins, by the formula of the same page."""
    page = DEVICE.read_text()
    names = dict(re.findall(r"(ProductKey|DeviceName|DeviceSecret) `(\w+)`", page))
    row = r"^\| `([^|`]+)\\\|([^|`]*)\\\|` \| `(\w+)` \|$"
    examples = re.findall(row, page, re.M)
    with check("the examples of logins are right"):
        equal(len(examples), 3)
        for id, options, password in examples:
            given = dict(option.split("=") for option in options.split(",") if option)
            text = f"clientId{id}deviceName{names['DeviceName']}productKey{names['ProductKey']}"
            text += f"timestamp{given['timestamp']}" if "timestamp" in given else ""
            method = given.get("signmethod", "hmacmd5").removeprefix("hmac")
            digest = hmac.new(names["DeviceSecret"].encode(), text.encode(), method).hexdigest()
            equal(password.lower(), digest)


for page, wanted in SAMPLES.items():
    with check(f"{page.parent.name}/README.md has all its samples"):
        equal(len(samples(page)), wanted)
logins()
plain = Server("docs")
platforms(plain)
devices(plain, Server("docs-tls", Certificates(WORK / "certificates")))
end()
