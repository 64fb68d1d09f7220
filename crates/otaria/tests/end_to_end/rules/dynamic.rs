//! Dynamic jobs.

use super::Base::{Dynamic, DynamicGroup, Group};
use super::{Case, refused, run, taken};

const RULES: &[&str] = &[
    "SrcVersion.N or a group",
    "GroupId, GroupType",
    "DynamicMode",
    "one running job for a firmware",
    "what all jobs have",
    "MultiModuleMode and OverwriteMode as in the group's job",
];

const VERSION: &str = "iot.ota.InvalidSrcVersion";
const SELECTION: &str = "iot.ota.InvalidTargetSelection";
const AGREE: &str = "MultiModuleMode and OverwriteMode as in the group's job";

const CASES: &[Case] = &[
    taken("SrcVersion.N or a group", Dynamic, &[]),
    taken("SrcVersion.N or a group", Dynamic, &[("SrcVersion.*", "@versions 10")]),
    taken("SrcVersion.N or a group", DynamicGroup, &[]),
    refused("SrcVersion.N or a group", Dynamic, &[("SrcVersion.*", "@versions 11")], "SrcVersion", VERSION),
    refused("SrcVersion.N or a group", Dynamic, &[("SrcVersion.*", "1.0 1.0")], "SrcVersion.2", VERSION),
    refused("SrcVersion.N or a group", DynamicGroup, &[("SrcVersion.*", "1.0")], "SrcVersion", VERSION),
    taken("GroupId, GroupType", DynamicGroup, &[]),
    refused("GroupId, GroupType", DynamicGroup, &[("GroupId", "")], "GroupId", "MissingGroupId"),
    refused("GroupId, GroupType", DynamicGroup, &[("GroupType", "")], "GroupType", "MissingGroupType"),
    refused("GroupId, GroupType", DynamicGroup, &[("GroupType", "LINK_PLATFORM")], "GroupType", SELECTION),
    refused("GroupId, GroupType", DynamicGroup, &[("GroupId", "nobody")], "GroupId", "iot.ota.GroupNotFound"),
    // A static group.
    refused("GroupId, GroupType", DynamicGroup, &[("GroupId", "@group")], "GroupId", "InvalidGroupId"),
    // And a dynamic one where a static one belongs.
    refused("GroupId, GroupType", Group, &[("GroupId", "@standing-group")], "GroupId", "InvalidGroupId"),
    taken("DynamicMode", Dynamic, &[("DynamicMode", "1")]),
    taken("DynamicMode", Dynamic, &[("DynamicMode", "2")]),
    refused("DynamicMode", Dynamic, &[("DynamicMode", "3")], "DynamicMode", "InvalidDynamicMode"),
    taken("one running job for a firmware", Dynamic, &[]),
    refused(
        "one running job for a firmware",
        Dynamic,
        &[("FirmwareId", "@standing")],
        "FirmwareId",
        "iot.ota.DynamicJobExisted",
    ),
    taken("what all jobs have", Dynamic, &[("MaximumPerMinute", "10"), ("Tag.*", "@tags 10 1")]),
    refused("what all jobs have", Dynamic, &[("FirmwareId", "")], "FirmwareId", "MissingFirmwareId"),
    refused("what all jobs have", Dynamic, &[("ProductKey", "")], "ProductKey", "MissingProductKey"),
    refused(
        "what all jobs have",
        Dynamic,
        &[("MaximumPerMinute", "9")],
        "MaximumPerMinute",
        "iot.ota.InvalidMaximumPerMinute",
    ),
    refused("what all jobs have", Dynamic, &[("RetryCount", "1")], "RetryInterval", "MissingRetryInterval"),
    refused(
        "what all jobs have",
        Dynamic,
        &[("TimeoutInMinutes", "1441")],
        "TimeoutInMinutes",
        "iot.ota.InvalidTimeout",
    ),
    refused("what all jobs have", Dynamic, &[("Tag.*", "@tags 11 1")], "Tag", "iot.ota.InvalidTags"),
    // The group of a job that neither has many modules nor overwrites.
    taken(AGREE, DynamicGroup, &[("GroupId", "@standing-group")]),
    refused(
        AGREE,
        DynamicGroup,
        &[("GroupId", "@standing-group"), ("MultiModuleMode", "true")],
        "MultiModuleMode",
        "InvalidMultiModuleMode",
    ),
    refused(
        AGREE,
        DynamicGroup,
        &[("GroupId", "@standing-group"), ("OverwriteMode", "2")],
        "OverwriteMode",
        "InvalidOverwriteMode",
    ),
];

#[tokio::test]
async fn a_standing_rule() {
    run(RULES, CASES).await;
}
