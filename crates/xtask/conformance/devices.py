"""The device side: the official Link SDK for Python, and bare clients that log in like the other kits.

Jobs are set up through the command line of the server, so this suite needs no cloud SDK.
"""

import ast
import hashlib
import json
import time

from checks import check, end, equal, eventually
from kits import Bare, Kit, block, login
from server import WORK, Certificates, Server

server = Server("devices", Certificates(WORK / "certificates"))
product = server("product", "create", "conformance")[0]["product_key"]
registered = server("device", "register", "--product", product, "--count", 14, "--prefix", "dev-")
devices = [(row["device"]["device_name"], row["device"]["device_secret"]) for row in registered]
other = server("product", "create", "somebody_else")[0]["product_key"]
versions = iter(range(2, 1000))


def firmware(name, *flags, size=100_000):
    """A package of a new version that needs no verification."""
    version = f"{next(versions)}.0.0"
    path = server.package(name, size)
    made = server(
        "firmware",
        "create",
        "--file",
        path,
        "--product",
        product,
        "--version",
        version,
        "--no-verify",
        *flags,
    )
    return made[0]["firmware_id"], version, path


def job(firmware_id, device, *flags):
    return server("job", "create", "--firmware", firmware_id, *flags, device[0])[0]["job_id"]


def task(job_id):
    return server("task", "list", job_id)[0]


def status(job_id, wanted):
    name = f"TASK_STATUS_{wanted}"
    return eventually(
        lambda: (lambda t: t if t["task_status"] == name else None)(task(job_id)), what=f"status {wanted}"
    )


def logins():
    for tls in (False, True):
        how = "over TLS with a private CA" if tls else "over TCP"
        with check(f"the kit connects {how}"), Kit(server, product, devices[0], tls) as kit:
            kit.connected()
        with check(f"the kit is refused with a wrong secret {how}"):
            with Kit(server, product, devices[0], tls, secret="0" * 32) as kit:
                kit.refused()
    for method in ("hmacmd5", "hmacsha1", "hmacsha256"):
        given = login(product, devices[0], method, extra=",_ss=1")
        with check(f"the kit connects with a given login signed with {method}"):
            with Kit(server, product, devices[0], given=given) as kit:
                kit.connected()
    forms = {
        "as the kit in C (upper case, constant timestamp, a comma before the bar)": dict(
            timestamp="2524608000000", upper=True, extra=",_ss=1,_v=sdk-c-4.x,ext=3,"
        ),
        "as the kit in JavaScript (SHA-1, milliseconds)": dict(
            id=f"{product}&{devices[0][0]}", method="hmacsha1", timestamp="1763712000250", extra=",lan=NodeJS"
        ),
        "with an id of its own and no timestamp": dict(id="12345", method="hmacmd5"),
    }
    for words, options in forms.items():
        with check(f"a device connects {words}"), Bare(server, login(product, devices[0], **options)) as bare:
            equal(bare.code(), 0)
    client_id, user, password = login(product, devices[0])
    wrong = {
        "a wrong password": (client_id, user, "0" * 64, (4, 5)),
        "an unknown device": (*login(product, ("nobody", "0" * 32)), (4, 5)),
        "an unknown product": (*login("a1Unknown00", devices[0]), (4, 5)),
        "a client id without its bars": (f"{product}.{devices[0][0]}", user, password, (2, 4, 5)),
    }
    for words, (*given, codes) in wrong.items():
        with check(f"CONNACK refuses {words}"), Bare(server, given) as bare:
            code = bare.code()
            assert code in codes, f"CONNACK {code}"
    with check("a second login closes the first"), Bare(server, login(product, devices[1])) as first:
        equal(first.code(), 0)
        with Bare(server, login(product, devices[1])) as second:
            equal(second.code(), 0)
            first.lost.get(timeout=10)
            first.client.loop_stop()
            time.sleep(0.5)
            assert second.lost.empty(), "the second was closed, too"
    with check("the kit is told when another login closes it"), Kit(server, product, devices[1]) as kit:
        kit.connected()
        with Bare(server, login(product, devices[1])) as second:
            equal(second.code(), 0)
            kit.disconnects.get(timeout=10)


def update(tls):
    how = "over TLS" if tls else "over TCP"
    firmware_id, version, path = firmware(f"whole-{tls}", "--sign-method", "MD5", "--udi", "free text")
    with Kit(server, product, devices[2], tls) as kit:
        with check(f"the kit connects for an update {how}"):
            kit.connected()
        with check(f"the version that the kit reports is known {how}"):
            kit.report("1.0.0")
            detail = lambda: server("device", "show", devices[2][0], "--product", product)[0]
            eventually(lambda: "1.0.0" in json.dumps(detail()), what="the version")
        job_id = job(firmware_id, devices[2], "--tag", "batch=seven")
        with check(f"the kit gets the push callback with all that it needs {how}"):
            offer = kit.offer()
            data = path.read_bytes()
            equal((offer.kind, offer.version, offer.size), (1, version, len(data)))
            equal((offer.method, offer.sign), ("Md5", hashlib.md5(data).hexdigest()))
            equal(offer.module, "default")
            equal(ast.literal_eval(offer.extra), {"batch": "seven", "_package_udi": "free text"})
            status(job_id, "NOTIFIED")
        with check(f"the kit downloads the package and finds its digest right {how}"):
            copy = server.folder / "copy"
            code = kit.kit.download_ota_firmware(offer.url, str(copy), offer.method, offer.sign)
            equal(getattr(code, "value", code), 0)
            equal(copy.read_bytes(), data)
        with check(f"the kit gets the same when it asks {how}"):
            kit.kit.query_ota_firmware()
            asked = kit.offer()
            equal((asked.kind, asked.version, asked.sign), (2, offer.version, offer.sign))
        with check(f"progress is followed, and progress 100 is no success {how}"):
            kit.progress(10, "begun")
            status(job_id, "IN_PROGRESS")
            kit.progress(100)
            eventually(lambda: str(task(job_id)["progress"]) == "100", what="progress 100")
            status(job_id, "IN_PROGRESS")
        with check(f"the new version is success {how}"):
            kit.report(version)
            status(job_id, "SUCCEEDED")
        with check(f"after that there is nothing to ask for {how}"):
            kit.kit.query_ota_firmware()
            kit.silence()


def failures():
    for step, words in ((-1, "update"), (-2, "download"), (-3, "check"), (-4, "burning")):
        firmware_id, _, _ = firmware(f"fails{step}")
        with check(f"step {step} ({words}) fails the task"), Kit(server, product, devices[3]) as kit:
            kit.connected()
            kit.report("1.0.0")
            job_id = job(firmware_id, devices[3])
            kit.offer()
            kit.progress(step, "it did not work")
            status(job_id, "FAILED")
    firmware_id, version, _ = firmware("offline")
    with check("a device that was away gets its notice when it comes"):
        job_id = job(firmware_id, devices[4])
        time.sleep(1)
        status(job_id, "QUEUED")
        with Kit(server, product, devices[4]) as kit:
            kit.connected()
            equal(kit.offer().version, version)
    with check("a device that comes back hears of its open task when it asks"):
        with Kit(server, product, devices[4]) as kit:
            kit.connected()
            kit.kit.query_ota_firmware()
            equal(eventually(lambda: kit.offer()).version, version)
    with check("NeedPush=false sends nothing and answers who asks"), Kit(server, product, devices[5]) as kit:
        kit.connected()
        firmware_id, version, _ = firmware("asked")
        job_id = job(firmware_id, devices[5], "--no-push")
        kit.silence()
        kit.kit.query_ota_firmware()
        equal(kit.offer().version, version)
        status(job_id, "NOTIFIED")
    with check("a module has its own updates"), Kit(server, product, devices[6]) as kit:
        kit.connected()
        firmware_id, version, _ = firmware("module", "--module", "mcu")
        kit.report("1.0.0", "mcu")
        job_id = job(firmware_id, devices[6])
        equal(kit.offer().module, "mcu")
        kit.progress(50, module="mcu")
        status(job_id, "IN_PROGRESS")
        kit.report(version, "mcu")
        status(job_id, "SUCCEEDED")
    with check("a cancelled job is not offered any more"), Kit(server, product, devices[7]) as kit:
        firmware_id, _, _ = firmware("cancelled")
        job_id = job(firmware_id, devices[7], "--no-push")
        server("job", "cancel", job_id)
        kit.connected()
        kit.kit.query_ota_firmware()
        kit.silence()


def own_topics():
    own, foreign = devices[8], devices[9]
    with Bare(server, login(product, own)) as bare:
        equal(bare.code(), 0)
        upgrade = f"/ota/device/upgrade/{product}"
        granted = [
            f"{upgrade}/{own[0]}",
            f"/ota/device/request/{product}/{own[0]}",
            f"/sys/{product}/{own[0]}/#",
        ]
        for topic in granted:
            with check(f"SUBACK grants {topic.replace(product, 'PK')}"):
                assert bare.subscribe(topic)[0] in (0, 1)
        refused = [
            f"{upgrade}/{foreign[0]}",
            f"{upgrade}/+",
            "#",
            "/ota/#",
            f"/sys/{product}/+/thing/#",
            f"/sys/{other}/{own[0]}/#",
        ]
        for topic in refused:
            with check(f"SUBACK refuses {topic.replace(product, 'PK').replace(other, 'OTHER')}"):
                equal(bare.subscribe(topic), [128])
        with check("a report in another device's name changes nothing"):
            bare.say(f"/ota/device/inform/{product}/{foreign[0]}", {"id": 1, "params": {"version": "6.6.6"}})
            time.sleep(1)
            detail = server("device", "show", foreign[0], "--product", product)[0]
            assert "6.6.6" not in json.dumps(detail)
        with check("malformed payloads and odd topics do not close the connection"):
            inform = f"/ota/device/inform/{product}/{own[0]}"
            for payload in ("", "{", "null", "[[[", '{"params":7}', b"\xff\xfe"):
                bare.say(inform, payload)
            for topic in (f"/ota/device/inform/{product}", "ünd", f"/sys/{product}/{own[0]}/thing/no/such"):
                bare.say(topic, "{}")
            bare.say(inform, {"id": "7", "params": {"version": "1.2.3"}})
            detail = lambda: json.dumps(server("device", "show", own[0], "--product", product)[0])
            eventually(lambda: "1.2.3" in detail(), what="the version")
            assert bare.lost.empty(), "the connection was closed"
    with (
        check("without _ss=1 a device gets only what it subscribes to"),
        Bare(server, login(product, own)) as bare,
    ):
        equal(bare.code(), 0)
        firmware_id, version, _ = firmware("subscribed")
        job(firmware_id, own)
        time.sleep(1.5)
        assert bare.packets.empty(), "it got a notice all the same"
        bare.subscribe(f"/ota/device/upgrade/{product}/{own[0]}")
        bare.say(f"/sys/{product}/{own[0]}/thing/ota/firmware/get", {"id": "1", "params": {}})
        notice = bare.message()
        equal(json.loads(notice.payload)["data"]["version"], version)


def over_mqtt(tls):
    how = "over TLS" if tls else "over TCP"
    device, stranger = devices[10 + 2 * tls], devices[11 + 2 * tls]
    firmware_id, version, path = firmware(f"streamed-{tls}", size=300_001)
    data = path.read_bytes()
    given = login(product, device, timestamp="2524608000000", upper=True, extra=",_ss=1,_v=sdk-c-4.x,ext=3,")
    topic = f"/sys/{product}/{device[0]}/thing/file/download"

    def ask(bare, stream, offset, size, file=1):
        # The kit in C writes this comma before the brace.
        bare.say(
            topic,
            f'{{"id":"5","version":"1.0","params":{{"fileToken":"","fileInfo":{{"streamId":{stream},"fileId":{file},}},'
            f'"fileBlock":{{"size":{size},"offset":{offset}}}}}}}',
            qos=0,
        )
        message = bare.message()
        equal(message.topic, f"{topic}_reply")
        return block(message.payload)

    with Bare(server, given, tls) as bare:
        equal(bare.code(), 0)
        job_id = job(firmware_id, device, "--download-protocol", "mqtt")
        with check(f"a notice for a download over MQTT names a stream and no URL {how}"):
            message = bare.message()
            notice = json.loads(message.payload)["data"]
            equal((notice["dProtocol"], notice["version"], notice["size"]), ("mqtt", version, len(data)))
            assert isinstance(notice["streamId"], int) and isinstance(notice["streamFileId"], int), notice
            assert "url" not in notice and "files" not in notice, notice
        stream, file = notice["streamId"], notice["streamFileId"]
        for size in (5 * 1024, 128 * 1024):
            with check(f"the package comes whole in blocks of {size} bytes {how}"):
                got = b""
                while len(got) < len(data):
                    head, part = ask(bare, stream, len(got), min(size, len(data) - len(got)), file)
                    equal((head["id"], head["code"]), ("5", 200))
                    equal((head["data"]["bOffset"], head["data"]["bSize"]), (len(got), len(part)))
                    equal(head["data"]["fileLength"], len(data))
                    got += part
                equal(hashlib.sha256(got).hexdigest(), notice["sign"])
        refusals = {
            "an unknown stream": (stream ^ 1, 0, 10, file),
            "another file": (stream, 0, 10, file + 1),
            "an offset behind the end": (stream, len(data), 10, file),
            "an empty block": (stream, 0, 0, file),
            "a block above 128 KiB": (stream, 0, 128 * 1024 + 1, file),
        }
        for words, (s, offset, size, f) in refusals.items():
            with check(f"a download over MQTT refuses {words} {how}"):
                head, part = ask(bare, s, offset, size, f)
                assert head["code"] != 200 and part is None and "data" not in head, head
        with check(f"another device cannot read the same stream {how}"):
            with Bare(server, login(product, stranger, extra=",_ss=1"), tls) as other:
                equal(other.code(), 0)
                other.say(
                    topic.replace(device[0], stranger[0]),
                    {
                        "id": 1,
                        "params": {
                            "fileInfo": {"streamId": stream, "fileId": file},
                            "fileBlock": {"size": 9, "offset": 0},
                        },
                    },
                )
                head, part = block(other.message().payload)
                assert head["code"] != 200 and part is None, head
        with check(f"an update by MQTT ends with the new version {how}"):
            bare.say(f"/ota/device/inform/{product}/{device[0]}", {"id": "9", "params": {"version": version}})
            status(job_id, "SUCCEEDED")


logins()
for tls in (False, True):
    update(tls)
    over_mqtt(tls)
failures()
own_topics()
end()
