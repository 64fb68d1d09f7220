//! When a job runs, and how it treats its devices.

use super::Base::{All, Specific, Verify};
use super::{Case, refused, refused_text, run, taken};

const RULES: &[&str] = &[
    "ScheduleTime",
    "ScheduleFinishTime",
    "RetryInterval",
    "RetryCount",
    "TimeoutInMinutes",
    "MaximumPerMinute",
    "OverwriteMode",
    "NeedPush",
    "NeedConfirm",
    "DownloadProtocol",
    "Tag.N",
];

const START: &str = "iot.ota.InvalidScheduleTime";
const FINISH: &str = "iot.ota.InvalidScheduleFinishTime";
const RETRY: &str = "iot.ota.InvalidRetry";
const TIMEOUT: &str = "iot.ota.InvalidTimeout";
const RATE: &str = "iot.ota.InvalidMaximumPerMinute";
const TAGS: &str = "iot.ota.InvalidTags";

const CASES: &[Case] = &[
    // 5 minutes to 7 days from now; 20 seconds lie between this clock and the server's look at its own.
    taken("ScheduleTime", All, &[("ScheduleTime", "@in 320")]),
    taken("ScheduleTime", All, &[("ScheduleTime", "@in 604780")]),
    refused("ScheduleTime", All, &[("ScheduleTime", "@in 280")], "ScheduleTime", START),
    refused("ScheduleTime", All, &[("ScheduleTime", "@in 604820")], "ScheduleTime", START),
    refused("ScheduleTime", All, &[("ScheduleTime", "@in -3600")], "ScheduleTime", START),
    // Seconds.
    refused("ScheduleTime", All, &[("ScheduleTime", "1795251600")], "ScheduleTime", START),
    refused_text("ScheduleTime", All, &[("ScheduleTime", "soon")], "ScheduleTime", "InvalidScheduleTime"),
    // 1 hour to 30 days after the start, to the millisecond.
    taken(
        "ScheduleFinishTime",
        All,
        &[("ScheduleTime", "@start 0"), ("ScheduleFinishTime", "@start 3600000")],
    ),
    taken(
        "ScheduleFinishTime",
        All,
        &[("ScheduleTime", "@start 0"), ("ScheduleFinishTime", "@start 2592000000")],
    ),
    taken("ScheduleFinishTime", All, &[("ScheduleFinishTime", "@in 3620")]),
    taken("ScheduleFinishTime", All, &[("ScheduleFinishTime", "@in 2591980")]),
    refused(
        "ScheduleFinishTime",
        All,
        &[("ScheduleTime", "@start 0"), ("ScheduleFinishTime", "@start 3599999")],
        "ScheduleFinishTime",
        FINISH,
    ),
    refused(
        "ScheduleFinishTime",
        All,
        &[("ScheduleTime", "@start 0"), ("ScheduleFinishTime", "@start 2592000001")],
        "ScheduleFinishTime",
        FINISH,
    ),
    refused("ScheduleFinishTime", All, &[("ScheduleFinishTime", "@in 3580")], "ScheduleFinishTime", FINISH),
    refused(
        "ScheduleFinishTime",
        All,
        &[("ScheduleFinishTime", "@in 2592020")],
        "ScheduleFinishTime",
        FINISH,
    ),
    // Retries
    taken("RetryInterval", All, &[("RetryInterval", "0"), ("RetryCount", "1")]),
    taken("RetryInterval", All, &[("RetryInterval", "10"), ("RetryCount", "1")]),
    taken("RetryInterval", All, &[("RetryInterval", "30"), ("RetryCount", "1")]),
    taken("RetryInterval", All, &[("RetryInterval", "60"), ("RetryCount", "1")]),
    taken("RetryInterval", All, &[("RetryInterval", "1440"), ("RetryCount", "1")]),
    taken("RetryInterval", All, &[("RetryInterval", "30"), ("RetryCount", "1"), ("TimeoutInMinutes", "31")]),
    refused(
        "RetryInterval",
        All,
        &[("RetryInterval", "30"), ("RetryCount", "1"), ("TimeoutInMinutes", "30")],
        "RetryInterval",
        RETRY,
    ),
    refused("RetryInterval", All, &[("RetryInterval", "20"), ("RetryCount", "1")], "RetryInterval", RETRY),
    refused("RetryInterval", All, &[("RetryInterval", "-10"), ("RetryCount", "1")], "RetryInterval", RETRY),
    refused("RetryInterval", All, &[("RetryInterval", "10")], "RetryCount", "MissingRetryCount"),
    taken("RetryCount", All, &[("RetryInterval", "10"), ("RetryCount", "1")]),
    taken("RetryCount", All, &[("RetryInterval", "10"), ("RetryCount", "2")]),
    taken("RetryCount", All, &[("RetryInterval", "10"), ("RetryCount", "5")]),
    refused("RetryCount", All, &[("RetryInterval", "10"), ("RetryCount", "0")], "RetryCount", RETRY),
    refused("RetryCount", All, &[("RetryInterval", "10"), ("RetryCount", "3")], "RetryCount", RETRY),
    refused("RetryCount", All, &[("RetryInterval", "10"), ("RetryCount", "6")], "RetryCount", RETRY),
    refused("RetryCount", All, &[("RetryCount", "1")], "RetryInterval", "MissingRetryInterval"),
    // TimeoutInMinutes
    taken("TimeoutInMinutes", All, &[]),
    taken("TimeoutInMinutes", All, &[("TimeoutInMinutes", "1")]),
    taken("TimeoutInMinutes", All, &[("TimeoutInMinutes", "1440")]),
    refused("TimeoutInMinutes", All, &[("TimeoutInMinutes", "0")], "TimeoutInMinutes", TIMEOUT),
    refused("TimeoutInMinutes", All, &[("TimeoutInMinutes", "1441")], "TimeoutInMinutes", TIMEOUT),
    refused("TimeoutInMinutes", Verify, &[("TimeoutInMinutes", "1441")], "TimeoutInMinutes", TIMEOUT),
    refused_text(
        "TimeoutInMinutes",
        All,
        &[("TimeoutInMinutes", "an hour")],
        "TimeoutInMinutes",
        "InvalidTimeoutInMinutes",
    ),
    // MaximumPerMinute
    taken("MaximumPerMinute", All, &[("MaximumPerMinute", "10")]),
    taken("MaximumPerMinute", All, &[("MaximumPerMinute", "10000")]),
    refused("MaximumPerMinute", All, &[("MaximumPerMinute", "9")], "MaximumPerMinute", RATE),
    refused("MaximumPerMinute", All, &[("MaximumPerMinute", "0")], "MaximumPerMinute", RATE),
    refused("MaximumPerMinute", All, &[("MaximumPerMinute", "10001")], "MaximumPerMinute", RATE),
    // OverwriteMode
    taken("OverwriteMode", All, &[("OverwriteMode", "1")]),
    taken("OverwriteMode", All, &[("OverwriteMode", "2")]),
    taken("OverwriteMode", All, &[("OverwriteMode", "1"), ("MultiModuleMode", "true")]),
    taken("OverwriteMode", All, &[("MultiModuleMode", "true")]),
    refused("OverwriteMode", All, &[("OverwriteMode", "3")], "OverwriteMode", "InvalidOverwriteMode"),
    refused(
        "OverwriteMode",
        All,
        &[("OverwriteMode", "2"), ("MultiModuleMode", "true")],
        "OverwriteMode",
        "InvalidOverwriteMode",
    ),
    // Over gRPC 0 is not given.
    refused_text("OverwriteMode", All, &[("OverwriteMode", "0")], "OverwriteMode", "InvalidOverwriteMode"),
    // Flags: gRPC has no third value.
    taken("NeedPush", All, &[("NeedPush", "true")]),
    taken("NeedPush", All, &[("NeedPush", "false")]),
    refused_text("NeedPush", All, &[("NeedPush", "maybe")], "NeedPush", "InvalidNeedPush"),
    taken("NeedConfirm", All, &[("NeedConfirm", "true")]),
    taken("NeedConfirm", All, &[("NeedConfirm", "false")]),
    refused_text("NeedConfirm", All, &[("NeedConfirm", "1")], "NeedConfirm", "InvalidNeedConfirm"),
    // DownloadProtocol
    taken("DownloadProtocol", Specific, &[("DownloadProtocol", "HTTPS")]),
    taken("DownloadProtocol", Specific, &[("DownloadProtocol", "MQTT")]),
    taken("DownloadProtocol", Specific, &[("DownloadProtocol", "MQTT"), ("FirmwareId", "@16-MB")]),
    taken("DownloadProtocol", Specific, &[("DownloadProtocol", "HTTPS"), ("FirmwareId", "@over-16-MB")]),
    taken("DownloadProtocol", Specific, &[("DownloadProtocol", "HTTPS"), ("FirmwareId", "@two-files")]),
    refused(
        "DownloadProtocol",
        Specific,
        &[("DownloadProtocol", "FTP")],
        "DownloadProtocol",
        "InvalidDownloadProtocol",
    ),
    refused(
        "DownloadProtocol",
        Specific,
        &[("DownloadProtocol", "MQTT"), ("FirmwareId", "@over-16-MB")],
        "DownloadProtocol",
        "InvalidDownloadProtocol",
    ),
    refused(
        "DownloadProtocol",
        Specific,
        &[("DownloadProtocol", "MQTT"), ("FirmwareId", "@two-files")],
        "DownloadProtocol",
        "InvalidDownloadProtocol",
    ),
    // Tag.N: keys of four letters and a number.
    taken("Tag.N", All, &[]),
    taken("Tag.N", All, &[("Tag.*", "@tags 10 1")]),
    taken("Tag.N", All, &[("Tag.*", "@tags 1 1024")]),
    taken("Tag.N", All, &[("Tag.*", "@tags 4 1020")]),
    taken("Tag.N", All, &[("Tag.1.Key", "@x 30"), ("Tag.1.Value", "a b*c~d/e+f 升级")]),
    refused("Tag.N", All, &[("Tag.*", "@tags 11 1")], "Tag", TAGS),
    refused("Tag.N", All, &[("Tag.*", "@tags 1 1025")], "Tag.1.Value", TAGS),
    refused("Tag.N", All, &[("Tag.*", "@tags 4 1021")], "Tag", TAGS),
    refused("Tag.N", All, &[("Tag.1.Key", "@x 31"), ("Tag.1.Value", "v")], "Tag.1.Key", TAGS),
    refused("Tag.N", All, &[("Tag.1.Key", "a_b"), ("Tag.1.Value", "v")], "Tag.1.Key", TAGS),
    refused(
        "Tag.N",
        All,
        &[("Tag.1.Key", "a"), ("Tag.1.Value", "v"), ("Tag.2.Key", "a"), ("Tag.2.Value", "w")],
        "Tag.2.Key",
        TAGS,
    ),
    refused("Tag.N", All, &[("Tag.1.Key", "alone")], "Tag.1.Value", "MissingTag"),
    refused("Tag.N", All, &[("Tag.1.Value", "alone")], "Tag.1.Key", "MissingTag"),
];

#[tokio::test]
async fn when_and_how() {
    run(RULES, CASES).await;
}
