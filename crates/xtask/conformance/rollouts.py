"""Jobs and tasks, through any of the SDKs, with devices on real sockets."""

import json
import time

import uploads
from callers import done, refused
from checks import check, equal, eventually
from kits import Bare, Kit, login
from things import device, firmware, product, unique

DATA = b"what devices want" * 500


class Scene:
    """A product with some devices, and a package for each job."""

    def __init__(self, call, server, devices=3):
        self.call, self.server, self.product = call, server, product(call)
        self.devices = [device(call, self.product) for _ in range(devices)]
        self.names = [name for name, _ in self.devices]
        self.versions = iter(range(2, 1000))

    def firmware(self, **more):
        self.version = f"{next(self.versions)}.0.0"
        return firmware(self.call, self.server, self.product, self.version, DATA, **more)

    def ask(self, target, firmware=None, **more):
        """The answer to the creation of a static job."""
        params = dict(FirmwareId=firmware or self.firmware(), ProductKey=self.product, TargetSelection=target)
        return self.call("CreateOTAStaticUpgradeJob", **params, **more)

    def job(self, target="SPECIFIC", **more):
        if target == "SPECIFIC" and "DnListFileUrl" not in more:
            more.setdefault("TargetDeviceName", self.names)
        return done(self.ask(target, **more))["Data"]["JobId"]

    def query(self, job):
        return done(self.call("QueryOTAJob", JobId=job))["Data"]

    def tasks(self, job, **more):
        page = done(self.call("ListOTATaskByJob", JobId=job, CurrentPage=1, PageSize=100, **more))
        return {row["DeviceName"]: row for row in page["Data"]["SimpleOTATaskInfo"]}

    def statuses(self, job):
        return sorted(row["TaskStatus"] for row in self.tasks(job).values())

    def until(self, job, *wanted):
        eventually(lambda: self.statuses(job) == sorted(wanted), what=f"{wanted}, now {self.statuses(job)}")

    def bare(self, n):
        return Bare(self.server, login(self.product, self.devices[n], extra=",_ss=1"))

    def inform(self, bare, n, version="1.0.0"):
        """The nth device says its version."""
        equal(bare.code(), 0)
        topic = f"/ota/device/inform/{self.product}/{self.names[n]}"
        bare.say(topic, {"id": "1", "params": {"version": version}})

    def add_device(self):
        self.devices.append(device(self.call, self.product))
        self.names.append(self.devices[-1][0])
        return len(self.devices) - 1


def verification(call, server):
    words, scene = call.words, Scene(call, server)
    made = scene.firmware(NeedToVerify=True)
    with check(f"{words}: an unverified package is not rolled out"):
        refused(scene.ask("ALL", firmware=made), "iot.ota.FirmwareNotVerified")
    with check(f"{words}: a verify job that its device passes makes the package verified"):
        verify = dict(FirmwareId=made, ProductKey=scene.product, TargetDeviceName=scene.names[:1])
        with Kit(server, scene.product, scene.devices[0]) as kit:
            kit.connected()
            kit.report("1.0.0")
            job = done(call("CreateOTAVerifyJob", **verify))["Data"]["JobId"]
            equal(kit.offer().version, scene.version)
            info = done(call("QueryOTAFirmware", FirmwareId=made))["FirmwareInfo"]
            equal(info["Status"], 2)
            found = scene.query(job)
            equal((found["JobType"], found["JobStatus"]), ("VERFIY_FIRMWARE", "IN_PROGRESS"))
            kit.report(scene.version)
            status = lambda: done(call("QueryOTAFirmware", FirmwareId=made))["FirmwareInfo"]["Status"]
            eventually(lambda: status() == 1, what="verified")
    with check(f"{words}: what is verified is not verified again"):
        refused(call("CreateOTAVerifyJob", **verify), "iot.ota.FirmwareAlreadyVerified")
        done(scene.ask("ALL", firmware=made))


def kinds(call, server):
    words, scene = call.words, Scene(call, server, devices=9)
    with check(f"{words}: a job for ALL has a task for each device and says what it is"):
        tags = [{"Key": "a.b", "Value": "ü ~*'()"}, {"Key": "c", "Value": "d"}]
        job = scene.job("ALL", Tag=tags, MaximumPerMinute=600, TimeoutInMinutes=60)
        found = scene.query(job)
        equal(
            (found["JobType"], found["JobStatus"], found["SelectionType"]),
            ("UPGRADE_FIRMWARE", "IN_PROGRESS", "STATIC"),
        )
        equal(
            (found["TargetSelection"], found["MaximumPerMinute"], found["TimeoutInMinutes"]), ("ALL", 600, 60)
        )
        equal(found["Tags"]["OtaTagDTO"], tags)
        equal((found["NeedPush"], found["NeedConfirm"], found["OverwriteMode"]), (True, False, 1))
        equal(
            (found["GroupId"], found["DownloadProtocol"], found["DestVersion"]), ("", "HTTPS", scene.version)
        )
        for absent in ("DynamicMode", "GrayPercent", "RetryCount", "UtcScheduleTime", "UtcEndTime"):
            assert absent not in found or found[absent] is None, absent
        equal(sorted(scene.tasks(job)), sorted(scene.names))
        cancel(call, job)
    with check(f"{words}: a job for names has tasks for those"):
        job = scene.job(TargetDeviceName=scene.names[:2])
        equal(sorted(scene.tasks(job)), sorted(scene.names[:2]))
        cancel(call, job)
    with check(f"{words}: a list file is counted line by line"):
        url = uploads.names(call, server, [*scene.names, scene.names[0], "nobody", ""])
        job = scene.job(DnListFileUrl=url)
        equal(sorted(scene.tasks(job)), sorted(scene.names))
        cancel(call, job)
    with check(f"{words}: GRAY takes a third, rounded down, and shows the percentage"):
        job = scene.job("GRAY", GrayPercent="33.333")
        equal(len(scene.tasks(job)), 2)
        assert scene.query(job)["GrayPercent"].startswith("33.33"), scene.query(job)["GrayPercent"]
        cancel(call, job)
    with check(f"{words}: GRAY of nobody is refused"):
        refused(scene.ask("GRAY", GrayPercent="1"), "*", "GrayPercent")
    with check(f"{words}: a job for a GROUP has tasks for its devices"):
        group = done(call("CreateDeviceGroup", GroupName=unique("group")))["Data"]["GroupId"]
        members = [{"ProductKey": scene.product, "DeviceName": name} for name in scene.names[:4]]
        done(call("BatchAddDeviceGroupRelations", GroupId=group, Device=members))
        job = scene.job("GROUP", GroupId=group, GroupType="LINK_PLATFORM")
        equal(sorted(scene.tasks(job)), sorted(scene.names[:4]))
        equal(scene.query(job)["GroupId"], group)
        cancel(call, job)
    with check(f"{words}: a planned job waits for its time and can be cancelled"):
        start = int(time.time() * 1000) + 3_600_000
        job = scene.job("ALL", ScheduleTime=start, ScheduleFinishTime=start + 7_200_000)
        equal(scene.query(job)["JobStatus"], "PLANNED")
        done(call("CancelOTATaskByJob", JobId=job, CancelScheduledTask=True))
        eventually(lambda: scene.query(job)["JobStatus"] == "CANCELED", what="CANCELED")


def cancel(call, job):
    flags = ("Queued", "Notified", "InProgress", "Unconfirmed")
    done(call("CancelOTATaskByJob", JobId=job, **{f"Cancel{flag}Task": True for flag in flags}))


def tasks(call, server):
    words, scene = call.words, Scene(call, server, devices=7)
    made = scene.firmware()
    job = scene.job(firmware=made, NeedPush=False)
    with check(f"{words}: tasks are listed in pages, by status and by name"):
        pages = [done(call("ListOTATaskByJob", JobId=job, CurrentPage=n, PageSize=3)) for n in (1, 2, 3, 4)]
        equal([len(page["Data"]["SimpleOTATaskInfo"]) for page in pages], [3, 3, 1, 0])
        equal({(page["Total"], page["PageCount"], page["PageSize"]) for page in pages}, {(7, 3, 3)})
        equal([page["CurrentPage"] for page in pages], [1, 2, 3, 4])
        equal(len(scene.tasks(job, TaskStatus="QUEUED")), 7)
        equal(len(scene.tasks(job, TaskStatus="FAILED")), 0)
        equal(list(scene.tasks(job, DeviceNames=scene.names[:1])), scene.names[:1])
        row = scene.tasks(job)[scene.names[0]]
        equal((row["DestVersion"], row["FirmwareId"], row["JobId"]), (scene.version, made, job))
    with check(f"{words}: jobs are found by package and by device, tasks by device"):
        rows = done(call("ListOTAJobByFirmware", FirmwareId=made, CurrentPage=1, PageSize=10))
        equal([row["JobId"] for row in rows["Data"]["SimpleOTAJobInfo"]], [job])
        of = dict(ProductKey=scene.product, DeviceName=scene.names[0])
        rows = done(call("ListOTAJobByDevice", **of, FirmwareId=made, CurrentPage=1, PageSize=10))
        equal([row["JobId"] for row in rows["Data"]["SimpleOTAJobInfo"]], [job])
        rows = done(call("ListOTAUnfinishedTaskByDevice", **of))["Data"]["SimpleOTATaskInfo"]
        equal([row["JobId"] for row in rows], [job])
    with check(f"{words}: tasks of devices are cancelled and started again"):
        done(
            call(
                "CancelOTATaskByDevice", ProductKey=scene.product, FirmwareId=made, DeviceName=scene.names[:2]
            )
        )
        eventually(lambda: scene.statuses(job).count("CANCELED") == 2, what="two cancelled")
        ids = [row["TaskId"] for row in scene.tasks(job, TaskStatus="CANCELED").values()]
        done(call("ReupgradeOTATask", JobId=job, TaskId=ids))
        eventually(lambda: scene.statuses(job) == ["QUEUED"] * 7, what="all queued")
        refused(call("ReupgradeOTATask", JobId=job, TaskId=ids), "*")
    with check(f"{words}: cancelling a job takes the tasks that the flags name"):
        refused(call("CancelOTATaskByJob", JobId=job), "*")
        done(call("CancelOTATaskByJob", JobId=job, CancelNotifiedTask=True))
        equal(scene.statuses(job), ["QUEUED"] * 7)
        cancel(call, job)
        scene.until(job, *["CANCELED"] * 7)
        eventually(
            lambda: scene.query(job)["JobStatus"] in ("COMPLETED", "CANCELED"), what="the end of the job"
        )
    with check(f"{words}: what needs a confirmation waits for it"), scene.bare(0) as bare:
        equal(bare.code(), 0)
        job = scene.job(TargetDeviceName=scene.names[:2], NeedConfirm=True)
        equal(scene.statuses(job), ["CONFIRM"] * 2)
        time.sleep(1)
        assert bare.packets.empty(), "it was pushed unconfirmed"
        done(call("ConfirmOTATask", TaskId=[scene.tasks(job)[scene.names[0]]["TaskId"]]))
        equal(json.loads(bare.message().payload)["data"]["version"], scene.version)
        scene.until(job, "NOTIFIED", "CONFIRM")
        refused(call("ConfirmOTATask"), "MissingTaskId")
        cancel(call, job)
    with check(f"{words}: a second job for a busy device fails there, or replaces the first"):
        first = scene.job(TargetDeviceName=scene.names[3:4], NeedPush=False)
        second = scene.job(TargetDeviceName=scene.names[3:4], NeedPush=False)
        equal((scene.statuses(first), scene.statuses(second)), (["QUEUED"], ["FAILED"]))
        third = scene.job(TargetDeviceName=scene.names[3:4], NeedPush=False, OverwriteMode=2)
        equal((scene.statuses(first), scene.statuses(third)), (["CANCELED"], ["QUEUED"]))
    with check(f"{words}: several files are told in a list"), scene.bare(5) as bare:
        equal(bare.code(), 0)
        parts = {name: name.encode() * 1000 for name in ("one", "two")}
        files = [
            {
                "Name": name,
                "Url": uploads.package(call, server, data),
                "Size": len(data),
                "SignValue": uploads.md5(data),
                "FileMd5": uploads.md5(data),
            }
            for name, data in parts.items()
        ]
        version = f"{next(scene.versions)}.0.0"
        params = dict(
            ProductKey=scene.product, FirmwareName=unique("fw"), DestVersion=version, NeedToVerify=False
        )
        made = done(call("CreateOTAFirmware", **params, MultiFiles=files))["Data"]["FirmwareId"]
        scene.job(firmware=made, TargetDeviceName=scene.names[5:6])
        data = json.loads(bare.message().payload)["data"]
        assert "url" not in data, data
        told = {file["fileName"]: (file["fileSize"], file["fileMd5"]) for file in data["files"]}
        equal(told, {name: (len(part), uploads.md5(part)) for name, part in parts.items()})
