"""Products, devices, groups, modules and firmware, through any of the SDKs."""

import uuid

import uploads
from callers import done, refused
from checks import check, equal, eventually
from kits import Bare, login


def unique(prefix):
    return f"{prefix}_{uuid.uuid4().hex[:8]}"


def product(call):
    return done(call("CreateProduct", ProductName=unique("conf"), NodeType=0))["ProductKey"]


def device(call, key, name=None):
    """Registers a device; returns its name and secret."""
    data = done(call("RegisterDevice", ProductKey=key, DeviceName=name or unique("dev")))["Data"]
    return data["DeviceName"], data["DeviceSecret"]


def firmware(call, server, key, version, data, **more):
    """Uploads and makes a package that needs no verification unless told otherwise; returns its id."""
    params = dict(
        ProductKey=key,
        FirmwareName=unique("fw"),
        DestVersion=version,
        FirmwareUrl=uploads.package(call, server, data),
        NeedToVerify=False,
    )
    return done(call("CreateOTAFirmware", **{**params, **more}))["Data"]["FirmwareId"]


def products(call):
    words = call.words
    with check(f"{words}: a product is made and found"):
        name = unique("conf")
        made = done(call("CreateProduct", ProductName=name, NodeType=0))
        equal(made["Data"]["ProductKey"], made["ProductKey"])
        found = done(call("QueryProduct", ProductKey=made["ProductKey"]))["Data"]
        equal((found["ProductName"], found["NodeType"]), (name, 0))
    with check(f"{words}: a product's name is taken once"):
        refused(call("CreateProduct", ProductName=name, NodeType=0), "iot.prod.AlreadyExistedProductName")
    with check(f"{words}: products are listed in pages"):
        page = done(call("QueryProductList", CurrentPage=1, PageSize=1))["Data"]
        equal((page["CurrentPage"], page["PageSize"], page["PageCount"]), (1, 1, page["Total"]))
        equal(len(page["List"]["ProductInfo"]), 1)
    with check(f"{words}: a product that is not there is not found"):
        refused(call("QueryProduct", ProductKey="a1NotThere0"), "iot.prod.*")


def devices(call):
    words, key = call.words, product(call)
    with check(f"{words}: a device is registered and told in full"):
        name, secret = device(call, key)
        assert len(secret) == 32, secret
        detail = done(call("QueryDeviceDetail", ProductKey=key, DeviceName=name))["Data"]
        equal((detail["DeviceName"], detail["DeviceSecret"], detail["Status"]), (name, secret, "UNACTIVE"))
        equal(done(call("GetDeviceStatus", ProductKey=key, DeviceName=name))["Data"]["Status"], "UNACTIVE")
    with check(f"{words}: a device is also found by its IotId"):
        equal(done(call("QueryDeviceDetail", IotId=detail["IotId"]))["Data"]["DeviceName"], name)
    with check(f"{words}: a name is registered once"):
        refused(
            call("RegisterDevice", ProductKey=key, DeviceName=name), "iot.device.AlreadyExistedDeviceName"
        )
    with check(f"{words}: the server makes up a name"):
        assert device(call, key)[0]
    with check(f"{words}: a name outside the rules is refused"):
        refused(call("RegisterDevice", ProductKey=key, DeviceName="a b"), "*", "DeviceName")
    with check(f"{words}: a device that is not there is not found"):
        refused(call("QueryDeviceDetail", ProductKey=key, DeviceName="nobody"), "iot.device.NotExistedDevice")
    with check(f"{words}: a batch is checked, registered and read back"):
        names = [unique("bulk") for _ in range(12)]
        apply = done(call("BatchCheckDeviceNames", ProductKey=key, DeviceName=names))["Data"]["ApplyId"]
        assert isinstance(apply, int), apply
        done(call("BatchRegisterDeviceWithApplyId", ProductKey=key, ApplyId=apply))
        status = lambda: done(call("QueryBatchRegisterDeviceStatus", ProductKey=key, ApplyId=apply))["Data"][
            "Status"
        ]
        eventually(lambda: status() == "CREATE_SUCCESS", what="CREATE_SUCCESS")
        pages = [done(call("QueryPageByApplyId", ApplyId=apply, CurrentPage=n, PageSize=10)) for n in (1, 2)]
        rows = [row for page in pages for row in page["ApplyDeviceList"]["ApplyDeviceInfo"]]
        equal(sorted(row["DeviceName"] for row in rows), sorted(names))
        assert all(len(row["DeviceSecret"]) == 32 for row in rows)
    with check(f"{words}: devices are listed in pages"):
        own = product(call)
        names = sorted(device(call, own)[0] for _ in range(3))
        pages = [done(call("QueryDevice", ProductKey=own, CurrentPage=n, PageSize=2)) for n in (1, 2)]
        equal([(page["Total"], page["PageCount"], page["Page"]) for page in pages], [(3, 2, 1), (3, 2, 2)])
        equal(sorted(row["DeviceName"] for page in pages for row in page["Data"]["DeviceInfo"]), names)
    with check(f"{words}: a device is deleted"):
        gone, _ = device(call, key)
        done(call("DeleteDevice", ProductKey=key, DeviceName=gone))
        refused(call("QueryDeviceDetail", ProductKey=key, DeviceName=gone), "iot.device.NotExistedDevice")


def presence(call, server):
    words, key = call.words, product(call)
    status = lambda name: done(call("GetDeviceStatus", ProductKey=key, DeviceName=name))["Data"]["Status"]
    name, secret = device(call, key)
    given = login(key, (name, secret), extra=",_ss=1")
    with check(f"{words}: a device is online, then offline, and its version is known"):
        with Bare(server, given) as bare:
            equal(bare.code(), 0)
            eventually(lambda: status(name) == "ONLINE", what="ONLINE")
            bare.say(f"/ota/device/inform/{key}/{name}", {"id": "1", "params": {"version": "1.2.3"}})
            detail = lambda: done(call("QueryDeviceDetail", ProductKey=key, DeviceName=name))["Data"]
            eventually(lambda: detail().get("FirmwareVersion") == "1.2.3", what="the version")
        eventually(lambda: status(name) == "OFFLINE", what="OFFLINE")
    with check(f"{words}: versions of modules are listed"):
        rows = done(
            call("ListOTAModuleVersionsByDevice", ProductKey=key, DeviceName=name, CurrentPage=1, PageSize=10)
        )
        equal([row["ModuleVersion"] for row in rows["Data"]["SimpleOTAModuleInfo"]], ["1.2.3"])
    with check(f"{words}: a disabled device may not connect until it is enabled"):
        done(call("DisableThing", ProductKey=key, DeviceName=name))
        equal(status(name), "DISABLE")
        with Bare(server, given) as bare:
            assert bare.code() in (4, 5)
        done(call("EnableThing", ProductKey=key, DeviceName=name))
        with Bare(server, given) as bare:
            equal(bare.code(), 0)


def groups(call):
    words, key = call.words, product(call)
    names = [device(call, key)[0] for _ in range(3)]
    with check(f"{words}: a group takes devices, lists them and lets them go"):
        group = done(call("CreateDeviceGroup", GroupName=unique("group"), GroupDesc="some"))["Data"][
            "GroupId"
        ]
        members = [{"ProductKey": key, "DeviceName": name} for name in names]
        added = done(call("BatchAddDeviceGroupRelations", GroupId=group, Device=members))
        equal(added["SuccessAddedDeviceCount"], 3)
        listed = done(call("QueryDeviceListByDeviceGroup", GroupId=group, CurrentPage=1, PageSize=10))
        equal(sorted(row["DeviceName"] for row in listed["Data"]["SimpleDeviceInfo"]), sorted(names))
        equal(done(call("QueryDeviceGroupInfo", GroupId=group))["Data"]["DeviceCount"], 3)
        of_device = done(call("QueryDeviceGroupByDevice", ProductKey=key, DeviceName=names[0]))
        equal([row["GroupId"] for row in of_device["GroupInfos"]["GroupInfo"]], [group])
        done(call("BatchDeleteDeviceGroupRelations", GroupId=group, Device=members[:1]))
        equal(done(call("QueryDeviceGroupInfo", GroupId=group))["Data"]["DeviceCount"], 2)
        done(call("DeleteDeviceGroup", GroupId=group))


def modules(call):
    words, key = call.words, product(call)
    with check(f"{words}: modules are made, changed, listed and deleted"):
        done(call("CreateOTAModule", ProductKey=key, ModuleName="mcu", AliasName="the mcu", Desc="a"))
        done(call("UpdateOTAModule", ProductKey=key, ModuleName="mcu", AliasName="another"))
        rows = {
            row["ModuleName"]: row for row in done(call("ListOTAModuleByProduct", ProductKey=key))["Data"]
        }
        equal(rows["mcu"]["AliasName"], "another")
        assert "default" in rows, rows
        refused(call("DeleteOTAModule", ProductKey=key, ModuleName="default"), "*")
        done(call("DeleteOTAModule", ProductKey=key, ModuleName="mcu"))


def packages(call, server):
    words, key, data = call.words, product(call), b"a package of some bytes" * 1000
    with check(f"{words}: a package is uploaded, made and told in full"):
        made = firmware(call, server, key, "2.0.0", data, Udi="free text", NeedToVerify=True)
        info = done(call("QueryOTAFirmware", FirmwareId=made))["FirmwareInfo"]
        equal(
            (info["DestVersion"], info["FirmwareSize"], info["FirmwareSign"]),
            ("2.0.0", len(data), uploads.md5(data)),
        )
        equal((info["SignMethod"], info["Status"], info["Type"], info["Udi"]), ("MD5", 0, 0, "free text"))
        equal((info["ModuleName"], info["ProductKey"]), ("default", key))
    with check(f"{words}: without verification its status is -1"):
        free = firmware(call, server, key, "2.0.1", data)
        equal(done(call("QueryOTAFirmware", FirmwareId=free))["FirmwareInfo"]["Status"], -1)
    with check(f"{words}: a difference needs its source version"):
        url = uploads.package(call, server, data)
        params = dict(ProductKey=key, FirmwareName=unique("fw"), DestVersion="2.0.2", FirmwareUrl=url, Type=1)
        refused(call("CreateOTAFirmware", **params), "*", "SrcVersion")
        made = done(call("CreateOTAFirmware", **params, SrcVersion="2.0.1"))["Data"]["FirmwareId"]
        info = done(call("QueryOTAFirmware", FirmwareId=made))["FirmwareInfo"]
        equal((info["Type"], info["SrcVersion"]), (1, "2.0.1"))
    with check(f"{words}: a wrong digest, a wrong size and an unknown address are refused"):
        params = dict(ProductKey=key, FirmwareName=unique("fw"), DestVersion="2.0.3")
        url = uploads.package(call, server, data)
        refused(
            call("CreateOTAFirmware", **params, FirmwareUrl=url, FirmwareSign="0" * 32, SignMethod="MD5"),
            "iot.ota.FirmwareMismatch",
        )
        refused(
            call("CreateOTAFirmware", **params, FirmwareUrl=url, FirmwareSize=7), "iot.ota.FirmwareMismatch"
        )
        refused(
            call("CreateOTAFirmware", **params, FirmwareUrl="https://example.com/a.bin"), "*", "FirmwareUrl"
        )
    with check(f"{words}: packages are listed in pages and by version"):
        page = done(call("ListOTAFirmware", ProductKey=key, CurrentPage=1, PageSize=2))
        equal((len(page["FirmwareInfo"]["SimpleFirmwareInfo"]), page["Total"], page["PageCount"]), (2, 3, 2))
        page = done(call("ListOTAFirmware", ProductKey=key, DestVersion="2.0.1", CurrentPage=1, PageSize=10))
        equal([row["FirmwareId"] for row in page["FirmwareInfo"]["SimpleFirmwareInfo"]], [free])
        page = done(call("ListOTAFirmware", ProductKey=key, CurrentPage=9, PageSize=10))
        equal(page["FirmwareInfo"]["SimpleFirmwareInfo"], [])
    with check(f"{words}: a package's words are changed"):
        changed = dict(FirmwareId=free, ProductKey=key, FirmwareDesc="other words", FirmwareUdi="other")
        done(call("ModifyOTAFirmware", **changed))
        info = done(call("QueryOTAFirmware", FirmwareId=free))["FirmwareInfo"]
        equal((info["FirmwareDesc"], info["Udi"]), ("other words", "other"))
    with check(f"{words}: a package is deleted"):
        done(call("DeleteOTAFirmware", FirmwareId=free))
        refused(call("QueryOTAFirmware", FirmwareId=free), "iot.ota.FirmwareNotFound")
