"""Dynamic jobs and dynamic groups, through any of the SDKs, with devices on real sockets."""

import json
import time

from callers import done, refused
from checks import check, equal, eventually
from rollouts import Scene, cancel
from things import unique

GROUP_TYPE = "LINK_PLATFORM_DYNAMIC"


def ask(scene, firmware=None, **more):
    params = dict(FirmwareId=firmware or scene.firmware(), ProductKey=scene.product)
    return scene.call("CreateOTADynamicUpgradeJob", **params, **more)


def standing(scene, firmware=None, **more):
    return done(ask(scene, firmware, **more))["Data"]["JobId"]


def end(scene, job):
    done(scene.call("CancelOTAStrategyByJob", JobId=job))


def offered(bare):
    """The version in the next notice."""
    return json.loads(bare.message().payload)["data"]["version"]


def make_group(call, rule):
    params = dict(GroupName=unique("rule"), GroupDesc="by a rule", DynamicGroupExpression=rule)
    return done(call("CreateDeviceDynamicGroup", **params))["Data"]


def groups(call, server):
    words, scene = call.words, Scene(call, server, devices=4)
    one, two = scene.names[:2]
    rule = f'product_key = "{scene.product}" and name in ("{one}", "{two}")'
    with check(f"{words}: a dynamic group is made of a rule and told in full"):
        made = make_group(call, rule)
        equal((made["DynamicGroupExpression"], made["GroupDesc"]), (rule, "by a rule"))
        group = made["GroupId"]
        found = done(call("QueryDeviceGroupInfo", GroupId=group, GroupType=GROUP_TYPE))["Data"]
        equal((found["DynamicGroupExpression"], found["GroupName"]), (rule, made["GroupName"]))
        equal((found["DeviceCount"], found["DeviceActive"], found["DeviceOnline"]), (2, 0, 0))
    with check(f"{words}: its devices are found, in pages and by filters"):
        listed = lambda **more: done(call("QueryDynamicGroupDevices", GroupId=group, **more))
        names = lambda page: [row["DeviceName"] for row in page["Data"]["SimpleDeviceInfo"]]
        pages = [listed(CurrentPage=n, PageSize=1) for n in (1, 2, 3)]
        equal([(page["Total"], page["PageCount"], page["Page"]) for page in pages], [(2, 2, n) for n in (1, 2, 3)])
        equal([name for page in pages for name in names(page)], sorted([one, two]))
        following = listed(PageSize=1, NextToken=pages[0]["NextToken"])
        equal((names(following), following.get("NextToken")), ([sorted([one, two])[1]], None))
        equal(names(listed(DeviceName=two)), [two])
        equal(names(listed(DeviceName=two[:7], FuzzyName=True, ProductKey=scene.product)).count(two), 1)
        equal((names(listed(Status="ONLINE")), len(names(listed(Status="UNACTIVE")))), ([], 2))
        row = listed(DeviceName=one)["Data"]["SimpleDeviceInfo"][0]
        equal((row["ProductKey"], row["Status"], row["NodeType"]), (scene.product, "UNACTIVE", 0))
        assert row["IotId"] and row["ProductName"], row
    with check(f"{words}: groups are listed by type"):
        own = unique("kind")
        fixed = done(call("CreateDeviceGroup", GroupName=f"{own}_list"))["Data"]["GroupId"]
        ruled = done(call("CreateDeviceDynamicGroup", GroupName=f"{own}_rule", DynamicGroupExpression=rule))
        ruled = ruled["Data"]["GroupId"]
        rows = lambda *types: {
            row["GroupId"]: row["GroupType"]
            for row in done(
                call("QueryDeviceGroupList", GroupName=own, GroupTypes=list(types), CurrentPage=1, PageSize=10)
            )["Data"]["GroupInfo"]
        }
        equal(rows("LINK_PLATFORM", GROUP_TYPE), {fixed: "LINK_PLATFORM", ruled: GROUP_TYPE})
        equal(rows(GROUP_TYPE), {ruled: GROUP_TYPE})
    with check(f"{words}: a rule that does not parse is refused, and says where"):
        wrong = call("CreateDeviceDynamicGroup", GroupName=unique("rule"), DynamicGroupExpression="name ~ 1")
        refused(wrong, "InvalidDynamicGroupExpression", "character 6")
    with check(f"{words}: nobody is put into a dynamic group by hand, and no static job is for one"):
        members = [{"ProductKey": scene.product, "DeviceName": one}]
        refused(call("BatchAddDeviceGroupRelations", GroupId=group, Device=members), "*", "GroupId")
        refused(call("QueryDeviceListByDeviceGroup", GroupId=group, CurrentPage=1, PageSize=10), "*", "GroupId")
        refused(scene.ask("GROUP", GroupId=group, GroupType="LINK_PLATFORM"), "*", "GroupId")
        refused(ask(scene, GroupId=fixed, GroupType=GROUP_TYPE), "*", "GroupId")
    with check(f"{words}: a dynamic job for a group takes those who match its rule"):
        job = standing(scene, GroupId=group, GroupType=GROUP_TYPE)
        found = scene.query(job)
        equal((found["SelectionType"], found["TargetSelection"]), ("DYNAMIC", "ALL"))
        equal((found["GroupId"], found["GroupName"]), (group, made["GroupName"]))
        eventually(lambda: sorted(scene.tasks(job)) == sorted([one, two]), what="two tasks")
    with check(f"{words}: jobs of one group agree on their modes"):
        of_group = dict(GroupId=group, GroupType=GROUP_TYPE)
        refused(ask(scene, OverwriteMode=2, **of_group), "*", "OverwriteMode")
        refused(ask(scene, MultiModuleMode=True, **of_group), "*", "MultiModuleMode")
        end(scene, job)
        end(scene, standing(scene, OverwriteMode=2, **of_group))
    with check(f"{words}: a dynamic group is described and deleted"):
        done(call("UpdateDeviceGroup", GroupId=group, GroupType=GROUP_TYPE, GroupDesc="other words"))
        equal(done(call("QueryDeviceGroupInfo", GroupId=group))["Data"]["GroupDesc"], "other words")
        done(call("DeleteDeviceGroup", GroupId=group))
        refused(call("QueryDeviceGroupInfo", GroupId=group), "iot.ota.GroupNotFound")
        equal(scene.query(job)["GroupName"], "")


def modes(call, server):
    words, scene = call.words, Scene(call, server)
    made = scene.firmware()
    with check(f"{words}: a dynamic job takes devices of today and of tomorrow"):
        job = standing(scene, made, DynamicMode=1)
        found = scene.query(job)
        equal((found["SelectionType"], found["DynamicMode"], found["TargetSelection"]), ("DYNAMIC", 1, "ALL"))
        equal((found["JobType"], found["JobStatus"]), ("UPGRADE_FIRMWARE", "IN_PROGRESS"))
        for absent in ("GrayPercent", "UtcScheduleTime", "UtcEndTime"):
            assert found.get(absent) is None, absent
        eventually(lambda: len(scene.tasks(job)) == 3, what="three tasks")
        new = scene.add_device()
        equal(len(scene.tasks(job)), 4)
        with scene.bare(new) as bare:
            scene.inform(bare, new)
            equal(offered(bare), scene.version)
    with check(f"{words}: its row in the list of jobs says that it is dynamic"):
        rows = done(call("ListOTAJobByFirmware", FirmwareId=made, CurrentPage=1, PageSize=10))
        row = rows["Data"]["SimpleOTAJobInfo"][0]
        equal((row["JobId"], row["SelectionType"], row["TargetSelection"]), (job, "DYNAMIC", "ALL"))
    with check(f"{words}: a package has one dynamic job"):
        refused(ask(scene, made, DynamicMode=1), "iot.ota.DynamicJobExisted", "FirmwareId")
        refused(ask(scene, made, DynamicMode=2), "iot.ota.DynamicJobExisted", "FirmwareId")
        refused(ask(scene, DynamicMode=3), "*", "DynamicMode")
        end(scene, job)
        cancel(call, job)
    with check(f"{words}: in the other mode nobody is taken before he reports"), scene.bare(0) as bare:
        scene.inform(bare, 0)
        later = standing(scene, DynamicMode=2)
        equal(scene.query(later)["DynamicMode"], 2)
        scene.add_device()
        time.sleep(1)
        equal(scene.tasks(later), {})
        assert bare.packets.empty(), "it was there before and has said nothing since"
        topic = f"/ota/device/inform/{scene.product}/{scene.names[0]}"
        bare.say(topic, {"id": "2", "params": {"version": "1.0.0"}})
        equal(offered(bare), scene.version)
        bare.say(topic, {"id": "3", "params": {"version": scene.version}})
        eventually(lambda: scene.statuses(later) == ["SUCCEEDED"], what="success")
        equal(scene.query(later)["JobStatus"], "IN_PROGRESS")
        end(scene, later)


def scopes(call, server):
    words, scene = call.words, Scene(call, server)
    for n, version in enumerate(("1.0.0", "1.5.0")):
        with scene.bare(n) as bare:
            scene.inform(bare, n, version)
            told = dict(ProductKey=scene.product, DeviceName=scene.names[n])
            known = lambda: done(call("QueryDeviceDetail", **told))["Data"].get("FirmwareVersion") == version
            eventually(known, what="the version")
    with check(f"{words}: a dynamic job for source versions takes those and no others"):
        job = standing(scene, SrcVersion=["1.0.0"])
        equal(scene.query(job)["SrcVersions"]["SrcVersion"], ["1.0.0"])
        eventually(lambda: sorted(scene.tasks(job)) == [scene.names[0]], what="one task")
    with check(f"{words}: other source versions count from the next report on"):
        done(call("UpdateOTAJob", JobId=job, SrcVersionList=["1.5.0", "1.6.0"]))
        equal(scene.query(job)["SrcVersions"]["SrcVersion"], ["1.5.0", "1.6.0"])
        equal(sorted(scene.tasks(job)), [scene.names[0]])
        with scene.bare(1) as bare:
            scene.inform(bare, 1, "1.5.0")
            equal(offered(bare), scene.version)
        equal(sorted(scene.tasks(job)), sorted(scene.names[:2]))
    with check(f"{words}: source versions and a group are not given together"):
        more = dict(SrcVersion=["1.0.0"], GroupId="some", GroupType=GROUP_TYPE)
        refused(ask(scene, **more), "*", "SrcVersion")
    end(scene, job)


def beside(call, server):
    words, scene = call.words, Scene(call, server)
    with check(f"{words}: of several dynamic jobs the latest wins"):
        first = standing(scene)
        eventually(lambda: scene.statuses(first) == ["QUEUED"] * 3, what="three tasks")
        second = standing(scene)
        eventually(lambda: scene.statuses(second) == ["QUEUED"] * 3, what="three tasks")
        equal(scene.statuses(first), ["CANCELED"] * 3)
        new = scene.add_device()
        equal((len(scene.tasks(first)), len(scene.tasks(second))), (3, 4))
        with scene.bare(new) as bare:
            scene.inform(bare, new)
            equal(offered(bare), scene.version)
    with check(f"{words}: when the later one is over, who reports comes to the earlier one"):
        end(scene, second)
        cancel(call, second)
        eventually(lambda: scene.statuses(second) == ["CANCELED"] * 4, what="four cancelled")
        with scene.bare(new) as bare:
            scene.inform(bare, new)
            equal(offered(bare), f"{int(scene.version[0]) - 1}.0.0")
        equal(len(scene.tasks(first)), 4)
    end(scene, first)


def endings(call, server):
    words, scene = call.words, Scene(call, server)
    job = standing(scene, NeedConfirm=True, DynamicMode=1)
    eventually(lambda: scene.statuses(job) == ["CONFIRM"] * 3, what="three tasks")
    with check(f"{words}: its strategy is cancelled"):
        end(scene, job)
        found = scene.query(job)
        equal((found["JobStatus"], found["DynamicMode"]), ("CANCELED", 1))
        assert found["UtcEndTime"], found
        end(scene, job)
    with check(f"{words}: after that nobody is taken, and the tasks that are there go on"):
        scene.add_device()
        equal(len(scene.tasks(job)), 3)
        with scene.bare(0) as bare:
            scene.inform(bare, 0)
            done(call("ConfirmOTATask", TaskId=[scene.tasks(job)[scene.names[0]]["TaskId"]]))
            equal(offered(bare), scene.version)
            topic = f"/ota/device/inform/{scene.product}/{scene.names[0]}"
            bare.say(topic, {"id": "2", "params": {"version": scene.version}})
            scene.until(job, "SUCCEEDED", "CONFIRM", "CONFIRM")
        equal(scene.query(job)["JobStatus"], "CANCELED")
    with check(f"{words}: its tasks are cancelled and started again"):
        cancel(call, job)
        scene.until(job, "SUCCEEDED", "CANCELED", "CANCELED")
        ids = [row["TaskId"] for row in scene.tasks(job, TaskStatus="CANCELED").values()]
        done(call("ReupgradeOTATask", JobId=job, TaskId=ids))
        scene.until(job, "SUCCEEDED", "CONFIRM", "CONFIRM")
        cancel(call, job)
    with check(f"{words}: a static job has no strategy"):
        fixed = scene.job("ALL", NeedPush=False)
        refused(call("CancelOTAStrategyByJob", JobId=fixed), "*", "JobId")
        refused(call("CancelOTAStrategyByJob"), "MissingJobId")
