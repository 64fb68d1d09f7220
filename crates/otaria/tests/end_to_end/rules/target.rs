//! Which devices a job is for.

use super::Base::{All, File, Gray, Group, Specific, Verify};
use super::{Case, refused, run, taken, tasks};

const RULES: &[&str] = &[
    "FirmwareId and ProductKey",
    "TargetSelection",
    "SrcVersion.N",
    "TargetDeviceName.N",
    "DnListFileUrl",
    "GroupId, GroupType",
    "GrayPercent",
    "parameters of another TargetSelection",
];

const SELECTION: &str = "iot.ota.InvalidTargetSelection";
const VERSION: &str = "iot.ota.InvalidSrcVersion";
const DEVICES: &str = "iot.ota.InvalidTargetDevices";
const GRAY: &str = "iot.ota.InvalidGrayPercent";
const LIST: &str = "iot.ota.DeviceListFileInvalid";
const GROUP: &str = "iot.ota.GroupNotFound";
const STRANGER: &str = "parameters of another TargetSelection";

const CASES: &[Case] = &[
    taken("FirmwareId and ProductKey", All, &[]),
    refused("FirmwareId and ProductKey", All, &[("FirmwareId", "")], "FirmwareId", "MissingFirmwareId"),
    refused("FirmwareId and ProductKey", All, &[("FirmwareId", "no/id")], "FirmwareId", "InvalidFirmwareId"),
    refused("FirmwareId and ProductKey", All, &[("ProductKey", "")], "ProductKey", "MissingProductKey"),
    refused(
        "FirmwareId and ProductKey",
        All,
        &[("ProductKey", "a/b")],
        "ProductKey",
        "iot.prod.InvalidFormattedProductkey",
    ),
    // A firmware of another product.
    refused(
        "FirmwareId and ProductKey",
        All,
        &[("FirmwareId", "@firmware")],
        "FirmwareId",
        "iot.ota.FirmwareNotFound",
    ),
    taken("FirmwareId and ProductKey", Group, &[("FirmwareId", "@verified")]),
    refused(
        "FirmwareId and ProductKey",
        Group,
        &[("FirmwareId", "@verifying")],
        "FirmwareId",
        "iot.ota.FirmwareNotVerified",
    ),
    refused(
        "FirmwareId and ProductKey",
        Group,
        &[("FirmwareId", "@unverified")],
        "FirmwareId",
        "iot.ota.FirmwareNotVerified",
    ),
    // TargetSelection
    tasks("TargetSelection", All, &[], 9),
    tasks("TargetSelection", Specific, &[], 1),
    tasks("TargetSelection", Gray, &[], 4),
    tasks("TargetSelection", Group, &[], 2),
    refused("TargetSelection", All, &[("TargetSelection", "")], "TargetSelection", "MissingTargetSelection"),
    refused("TargetSelection", All, &[("TargetSelection", "NOBODY")], "TargetSelection", SELECTION),
    // SrcVersion.N
    tasks("SrcVersion.N", All, &[("SrcVersion.*", "1.0")], 3),
    tasks("SrcVersion.N", All, &[("SrcVersion.*", "0.9 1.0 1.1")], 3),
    tasks("SrcVersion.N", All, &[("SrcVersion.*", "@versions 10")], 0),
    tasks("SrcVersion.N", Gray, &[("SrcVersion.*", "1.0")], 1),
    tasks("SrcVersion.N", All, &[("FirmwareId", "@difference"), ("SrcVersion.*", "1.0")], 3),
    tasks("SrcVersion.N", All, &[("FirmwareId", "@difference")], 3),
    refused("SrcVersion.N", All, &[("SrcVersion.*", "@versions 11")], "SrcVersion", VERSION),
    refused("SrcVersion.N", Gray, &[("SrcVersion.*", "@versions 11")], "SrcVersion", VERSION),
    refused("SrcVersion.N", All, &[("SrcVersion.*", "1.0 1.1 1.0")], "SrcVersion.3", VERSION),
    refused("SrcVersion.N", All, &[("SrcVersion.*", "1.0 1/1")], "SrcVersion.2", VERSION),
    refused(
        "SrcVersion.N",
        All,
        &[("FirmwareId", "@difference"), ("SrcVersion.*", "1.0 1.1")],
        "SrcVersion.2",
        VERSION,
    ),
    // TargetDeviceName.N
    tasks("TargetDeviceName.N", Specific, &[("TargetDeviceName.*", "dev-010 dev-011")], 2),
    tasks("TargetDeviceName.N", Specific, &[("TargetDeviceName.*", "@names 200")], 200),
    refused(
        "TargetDeviceName.N",
        Specific,
        &[("TargetDeviceName.*", "@names 201")],
        "TargetDeviceName",
        DEVICES,
    ),
    refused(
        "TargetDeviceName.N",
        Specific,
        &[("TargetDeviceName.*", "dev-001 dev-002 dev-001")],
        "TargetDeviceName.3",
        DEVICES,
    ),
    refused(
        "TargetDeviceName.N",
        Specific,
        &[("TargetDeviceName.*", "dev-001 a/b")],
        "TargetDeviceName.2",
        DEVICES,
    ),
    // A device of another product.
    refused(
        "TargetDeviceName.N",
        Specific,
        &[("TargetDeviceName.*", "dev-001 small-1")],
        "TargetDeviceName.2",
        DEVICES,
    ),
    refused(
        "TargetDeviceName.N",
        Specific,
        &[("TargetDeviceName.*", "")],
        "TargetDeviceName",
        "MissingTargetDeviceName",
    ),
    refused("TargetDeviceName.N", Specific, &[("DnListFileUrl", "@list")], "DnListFileUrl", DEVICES),
    // DnListFileUrl: an unknown name is skipped and counted.
    tasks("DnListFileUrl", File, &[], 2),
    refused("DnListFileUrl", File, &[("DnListFileUrl", "http://elsewhere/list.csv")], "DnListFileUrl", LIST),
    refused("DnListFileUrl", File, &[("DnListFileUrl", "@x 1025")], "DnListFileUrl", LIST),
    // GroupId, GroupType
    tasks("GroupId, GroupType", Group, &[], 2),
    refused("GroupId, GroupType", Group, &[("GroupId", "")], "GroupId", "MissingGroupId"),
    refused("GroupId, GroupType", Group, &[("GroupType", "")], "GroupType", "MissingGroupType"),
    refused("GroupId, GroupType", Group, &[("GroupId", "nobody")], "GroupId", GROUP),
    refused("GroupId, GroupType", Group, &[("GroupType", "LINK_PLATFORM_DYNAMIC")], "GroupType", SELECTION),
    refused("GroupId, GroupType", Group, &[("GroupType", "OTHER")], "GroupType", SELECTION),
    // GrayPercent, in exact arithmetic and rounded down.
    tasks("GrayPercent", Gray, &[("GrayPercent", "100")], 9),
    tasks("GrayPercent", Gray, &[("GrayPercent", "100.000")], 9),
    tasks("GrayPercent", Gray, &[("GrayPercent", "33.333")], 2),
    tasks("GrayPercent", Gray, &[("GrayPercent", "33.334")], 3),
    tasks("GrayPercent", Gray, &[("GrayPercent", "11.112")], 1),
    refused("GrayPercent", Gray, &[("GrayPercent", "11.111")], "GrayPercent", GRAY),
    refused("GrayPercent", Gray, &[("GrayPercent", "0.001")], "GrayPercent", GRAY),
    refused("GrayPercent", Gray, &[("GrayPercent", "0")], "GrayPercent", GRAY),
    refused("GrayPercent", Gray, &[("GrayPercent", "-1")], "GrayPercent", GRAY),
    refused("GrayPercent", Gray, &[("GrayPercent", "100.001")], "GrayPercent", GRAY),
    refused("GrayPercent", Gray, &[("GrayPercent", "33.3333")], "GrayPercent", GRAY),
    refused("GrayPercent", Gray, &[("GrayPercent", "a half")], "GrayPercent", GRAY),
    refused("GrayPercent", Gray, &[("GrayPercent", "")], "GrayPercent", "MissingGrayPercent"),
    // Each of them where it does not belong.
    taken(STRANGER, Verify, &[]),
    refused(STRANGER, Specific, &[("SrcVersion.*", "1.0")], "SrcVersion", VERSION),
    refused(STRANGER, File, &[("SrcVersion.*", "1.0")], "SrcVersion", VERSION),
    refused(STRANGER, Group, &[("SrcVersion.*", "1.0")], "SrcVersion", VERSION),
    refused(STRANGER, All, &[("TargetDeviceName.*", "small-1")], "TargetDeviceName", DEVICES),
    refused(STRANGER, Gray, &[("TargetDeviceName.*", "small-1")], "TargetDeviceName", DEVICES),
    refused(STRANGER, Group, &[("TargetDeviceName.*", "dev-001")], "TargetDeviceName", DEVICES),
    refused(STRANGER, All, &[("DnListFileUrl", "@list")], "DnListFileUrl", DEVICES),
    refused(STRANGER, Gray, &[("DnListFileUrl", "@list")], "DnListFileUrl", DEVICES),
    refused(STRANGER, Group, &[("DnListFileUrl", "@list")], "DnListFileUrl", DEVICES),
    refused(STRANGER, All, &[("GroupId", "@group")], "GroupId", SELECTION),
    refused(STRANGER, Specific, &[("GroupId", "@group")], "GroupId", SELECTION),
    refused(STRANGER, Gray, &[("GroupId", "@group")], "GroupId", SELECTION),
    refused(STRANGER, All, &[("GroupType", "LINK_PLATFORM")], "GroupType", SELECTION),
    refused(STRANGER, Specific, &[("GroupType", "LINK_PLATFORM")], "GroupType", SELECTION),
    refused(STRANGER, Gray, &[("GroupType", "LINK_PLATFORM")], "GroupType", SELECTION),
    refused(STRANGER, All, &[("GrayPercent", "50")], "GrayPercent", GRAY),
    refused(STRANGER, Specific, &[("GrayPercent", "50")], "GrayPercent", GRAY),
    refused(STRANGER, Group, &[("GrayPercent", "50")], "GrayPercent", GRAY),
];

#[tokio::test]
async fn who_is_in() {
    run(RULES, CASES).await;
}
