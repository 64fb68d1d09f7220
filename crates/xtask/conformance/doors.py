"""What must not get in, and what rules refuse."""

import base64
import json
import time
import uuid

import raw
import uploads
from callers import NewSdk, OldSdk, done, refused
from checks import check, equal
from rollouts import Scene
from things import product, unique


def signatures(server):
    for make in (
        lambda key: NewSdk(server, key=key),
        lambda key: NewSdk(server, v1=True, key=key),
        lambda key: OldSdk(server, key),
    ):
        call = make(("conformance-key", "not its secret"))
        with check(f"{call.words}: a wrong secret is refused"):
            answer = call("QueryProductList", CurrentPage=1, PageSize=1)
            assert answer["Code"] in ("SignatureDoesNotMatch", "InvalidAccessKeySecret"), answer
        call = make(("no-such-key", "secret"))
        with check(f"{call.words}: an unknown key is refused"):
            refused(call("QueryProductList", CurrentPage=1, PageSize=1), "InvalidAccessKeyId.NotFound")

    ask = lambda **params: raw.query("QueryProductList", CurrentPage=1, PageSize=1, **params)
    wrong = {
        "a wrong signature": (ask(secret="wrong"), "SignatureDoesNotMatch"),
        "a changed parameter": ({**ask(), "PageSize": 2}, "SignatureDoesNotMatch"),
        "an old timestamp": (ask(Timestamp=raw.timestamp(-16 * 60)), "InvalidTimeStamp.Expired"),
        "a timestamp of the future": (ask(Timestamp=raw.timestamp(16 * 60)), "InvalidTimeStamp.Expired"),
        "a timestamp that is none": (ask(Timestamp="yesterday"), "InvalidTimeStamp.Format"),
        "an unknown action": (raw.query("NoSuchAction"), "InvalidApi.NotFound"),
        "a version of another product": (
            raw.query("QueryProductList", Version="2000-01-01"),
            "InvalidApi.NotFound",
        ),
        "an unknown signature method": (ask(SignatureMethod="HMAC-MD4"), "InvalidSignatureMethod"),
        "no nonce": (ask(SignatureNonce=None), "*"),
        "no access key": (ask(AccessKeyId=None), "*"),
    }
    for words, (params, code) in wrong.items():
        with check(f"by hand: {words} is refused"):
            answer = raw.get(server, params)
            assert 400 <= answer.status_code < 500, answer.status_code
            body = answer.json()
            assert body["RequestId"] and body["HostId"] and body["Message"], body
            assert code == "*" or body["Code"] == code, body
    with check("by hand: a nonce is good for once, also after the server was killed"):
        params = ask()
        equal(raw.get(server, params).status_code, 200)
        equal(raw.get(server, params).json()["Code"], "SignatureNonceUsed")
        server.restart()
        equal(raw.get(server, params).json()["Code"], "SignatureNonceUsed")
    with check("by hand: an answer may be XML"):
        answer = raw.get(server, ask(Format="XML"))
        equal(answer.headers["Content-Type"].replace(" ", "").lower(), "text/xml;charset=utf-8")
        assert "<QueryProductListResponse>" in answer.text and "<ProductInfo>" in answer.text, answer.text


def forms(call, server):
    form = lambda: done(call("GenerateOTAUploadURL", FileSuffix="bin"))["Data"]
    policy = lambda form: json.loads(base64.b64decode(form["Policy"]))

    def widened(form):
        """The policy with a later end."""
        changed = {**policy(form), "expiration": "2099-01-01T00:00:00.000Z"}
        return {"policy": base64.b64encode(json.dumps(changed).encode()).decode()}

    forged = {
        "a wrong signature": lambda form: {"Signature": base64.b64encode(b"0" * 20).decode()},
        "another key": lambda form: {"key": "ota/" + uuid.uuid4().hex + ".bin"},
        "a widened policy": widened,
        "another access key": lambda form: {"OSSAccessKeyId": "no-such-key"},
    }
    for words, change in forged.items():
        with check(f"an upload with {words} is refused and leaves nothing"):
            given = form()
            posted = uploads.post(server, given, b"data", change(given))
            assert posted.status_code in (400, 403), posted.status_code
            params = dict(ProductKey=product(call), FirmwareName=unique("fw"), DestVersion="2.0.0")
            refused(call("CreateOTAFirmware", **params, FirmwareUrl=given["FirmwareUrl"]), "*", "FirmwareUrl")
    with check("an upload without a wish for a status is answered with 204"):
        posted = uploads.post(server, form(), b"data", success_action_status="")
        equal(posted.status_code, 204)
    with check("a list with too many bytes is refused at the upload or at the job"):
        scene = Scene(call, server, devices=1)
        form = done(call("GenerateDeviceNameListURL"))["Data"]
        posted = uploads.post(server, form, b"x" * (80 << 20))
        if posted.status_code < 300:
            refused(scene.ask("SPECIFIC", DnListFileUrl=form["FileUrl"]), "*")
    with check("a list that was never uploaded, or is not ours, is refused"):
        form = done(call("GenerateDeviceNameListURL"))["Data"]
        refused(scene.ask("SPECIFIC", DnListFileUrl=form["FileUrl"]), "*", "DnListFileUrl")
        refused(scene.ask("SPECIFIC", DnListFileUrl="https://example.com/list.csv"), "*", "DnListFileUrl")


def rules(call, server):
    """The rules of the Create…Job calls: a refused case for each, which names its parameter."""
    words, scene = call.words, Scene(call, server, devices=2)
    made, now = scene.firmware(), int(time.time() * 1000)
    minute, hour, day = 60_000, 3_600_000, 86_400_000
    tag = lambda key, value: {"Key": key, "Value": value}
    cases = [
        ("TargetSelection", "SOME", {}),
        ("SrcVersion", "ALL", dict(SrcVersion=[f"1.{n}" for n in range(11)])),
        ("SrcVersion", "SPECIFIC", dict(TargetDeviceName=scene.names, SrcVersion=["1.0"])),
        ("TargetDeviceName", "ALL", dict(TargetDeviceName=scene.names)),
        ("TargetDeviceName", "SPECIFIC", dict(TargetDeviceName=["nobody"])),
        ("TargetDeviceName", "SPECIFIC", dict(TargetDeviceName=scene.names[:1] * 2)),
        ("TargetDeviceName", "SPECIFIC", {}),
        ("GrayPercent", "GRAY", {}),
        ("GrayPercent", "GRAY", dict(GrayPercent="0")),
        ("GrayPercent", "GRAY", dict(GrayPercent="100.001")),
        ("GrayPercent", "GRAY", dict(GrayPercent="33.3333")),
        ("GrayPercent", "ALL", dict(GrayPercent="50")),
        ("GroupId", "GROUP", dict(GroupType="LINK_PLATFORM")),
        ("GroupType", "GROUP", dict(GroupId="somegroup")),
        ("ScheduleTime", "ALL", dict(ScheduleTime=now + minute)),
        ("ScheduleTime", "ALL", dict(ScheduleTime=now + 8 * day)),
        ("ScheduleFinishTime", "ALL", dict(ScheduleFinishTime=now + minute)),
        ("ScheduleFinishTime", "ALL", dict(ScheduleFinishTime=now + 31 * day)),
        ("RetryInterval", "ALL", dict(RetryInterval=5, RetryCount=1)),
        ("RetryInterval", "ALL", dict(RetryInterval=60, RetryCount=1, TimeoutInMinutes=60)),
        ("RetryCount", "ALL", dict(RetryInterval=10)),
        ("RetryCount", "ALL", dict(RetryInterval=10, RetryCount=3)),
        ("TimeoutInMinutes", "ALL", dict(TimeoutInMinutes=0)),
        ("TimeoutInMinutes", "ALL", dict(TimeoutInMinutes=1441)),
        ("MaximumPerMinute", "ALL", dict(MaximumPerMinute=9)),
        ("MaximumPerMinute", "ALL", dict(MaximumPerMinute=10001)),
        ("OverwriteMode", "ALL", dict(OverwriteMode=3)),
        ("OverwriteMode", "ALL", dict(OverwriteMode=2, MultiModuleMode=True)),
        ("DownloadProtocol", "ALL", dict(DownloadProtocol="FTP")),
        ("Tag", "ALL", dict(Tag=[tag(f"k{n}", "v") for n in range(11)])),
        ("Tag", "ALL", dict(Tag=[tag("k!", "v")])),
        ("Tag", "ALL", dict(Tag=[tag("k", "v" * 1025)])),
    ]
    for naming, target, more in cases:
        told = ", ".join(f"{name}={str(value)[:24]}" for name, value in more.items()) or "nothing"
        with check(f"{words}: {target} with {told} is refused"):
            refused(scene.ask(target, firmware=made, **more), "*", naming)
    for missing in ("FirmwareId", "ProductKey", "TargetSelection"):
        with check(f"{words}: a job without {missing} is refused"):
            params = dict(FirmwareId=made, ProductKey=scene.product, TargetSelection="ALL")
            params.pop(missing)
            refused(call("CreateOTAStaticUpgradeJob", **params), f"Missing{missing}", missing)
    with check(f"{words}: a job that is not there is not found"):
        refused(call("QueryOTAJob", JobId="nojob"), "iot.ota.JobNotFound")
    with check(f"{words}: at all borders a job is accepted"):
        start = now + 6 * minute
        params = dict(ScheduleTime=start, ScheduleFinishTime=start + hour, RetryInterval=10, RetryCount=5)
        params |= dict(TimeoutInMinutes=1440, MaximumPerMinute=10, OverwriteMode=2, DownloadProtocol="MQTT")
        params |= dict(SrcVersion=[f"1.{n}" for n in range(10)], Tag=[tag("k" * 30, "v" * 1024)])
        done(scene.ask("ALL", firmware=made, **params))
