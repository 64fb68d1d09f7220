use proptest::prelude::*;

use super::*;
use crate::firmware::FirmwareStatus;
use crate::ids::{ModuleName, Version};
use crate::list::ListLimits;
use crate::pace::PerMinute;
use crate::rules::Kind;

const NOW: i64 = 1_800_000_000_000;
const MINUTES: i64 = 60_000;
const HOURS: i64 = 60 * MINUTES;
const DAYS: i64 = 24 * HOURS;

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn numbered(count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("dev_{n}")).collect()
}

fn tag(key: &str, value: &str) -> TagParams {
    TagParams { key: text(key), value: text(value) }
}

fn job() -> JobParams {
    JobParams { product_key: text("a1Le6d0abcd"), firmware_id: text("fw0001"), ..JobParams::default() }
}

fn all() -> StaticUpgradeParams {
    StaticUpgradeParams { job: job(), target_selection: text("ALL"), ..StaticUpgradeParams::default() }
}

fn specific() -> StaticUpgradeParams {
    StaticUpgradeParams { target_selection: text("SPECIFIC"), target_device_name: texts(&["dev_1"]), ..all() }
}

fn gray() -> StaticUpgradeParams {
    StaticUpgradeParams { target_selection: text("GRAY"), gray_percent: text("33.333"), ..all() }
}

fn group() -> StaticUpgradeParams {
    StaticUpgradeParams {
        target_selection: text("GROUP"),
        group_id: text("g1"),
        group_type: text("LINK_PLATFORM"),
        ..all()
    }
}

fn verify() -> VerifyParams {
    VerifyParams { job: job(), target_device_name: texts(&["dev_1"]) }
}

fn dynamic() -> DynamicUpgradeParams {
    DynamicUpgradeParams { job: job(), ..DynamicUpgradeParams::default() }
}

fn parse(params: &StaticUpgradeParams) -> Result<NewJob, Refusal> {
    params.parse(Timestamp::from_millis(NOW), &Limits::default())
}

type Edit<P> = (fn(&mut P), &'static str, Code);

/// Each edit makes good parameters bad; the refusal names the parameter in its sentence too.
fn refused<P: Clone, J: std::fmt::Debug>(
    good: &P,
    parse: impl Fn(&P) -> Result<J, Refusal>,
    edits: &[Edit<P>],
) {
    parse(good).expect("good before the edit");
    for (n, (edit, parameter, code)) in edits.iter().enumerate() {
        let mut params = good.clone();
        edit(&mut params);
        let refusal = parse(&params).expect_err(parameter);
        assert_eq!((refusal.parameter.as_str(), refusal.code), (*parameter, *code), "{n}: {refusal}");
        assert!(
            refusal.rule.starts_with(&format!("{parameter} ")) && refusal.rule.ends_with('.'),
            "{refusal}"
        );
        assert_eq!(refusal.kind == Kind::Missing, *code == Code::MissingParameter, "{refusal}");
    }
}

fn taken<P: Clone>(good: &P, parse: impl Fn(&P) -> Result<NewJob, Refusal>, edits: &[fn(&mut P)]) {
    for (n, edit) in edits.iter().enumerate() {
        let mut params = good.clone();
        edit(&mut params);
        assert!(parse(&params).is_ok(), "{n}: {:?}", parse(&params));
    }
}

#[test]
fn what_is_not_said_has_the_defaults_of_the_seed() {
    let job = parse(&all()).unwrap();
    assert_eq!(job.kind, JobKind::Static);
    assert_eq!(job.target, Target::All { src_versions: vec![] });
    assert_eq!(job.schedule, Schedule::default());
    assert_eq!(job.policy.maximum_per_minute, PerMinute::DEFAULT);
    assert_eq!((job.policy.retry, job.policy.timeout, job.policy.offer_timeout), (None, None, None));
    assert_eq!((job.policy.overwrite.code(), job.policy.multi_module), (1, false));
    assert_eq!((job.policy.need_push, job.policy.need_confirm), (true, false));
    assert_eq!(job.policy.download_protocol, DownloadProtocol::Https);
    assert_eq!((job.tags.len(), job.description.as_str(), job.client_token), (0, "", None));
}

#[test]
fn required_parameters() {
    use Code::MissingParameter as Missing;
    refused(
        &all(),
        parse,
        &[
            (|p| p.job.firmware_id = None, "FirmwareId", Missing),
            (|p| p.job.firmware_id = text(""), "FirmwareId", Missing),
            (|p| p.job.firmware_id = text("no/id"), "FirmwareId", Code::InvalidParameter),
            (|p| p.job.product_key = None, "ProductKey", Missing),
            (|p| p.job.product_key = text("a/b"), "ProductKey", Code::InvalidProductKey),
            (|p| p.target_selection = None, "TargetSelection", Missing),
            (|p| p.target_selection = text("all"), "TargetSelection", Code::InvalidTargetSelection),
        ],
    );
    let refusal = parse(&StaticUpgradeParams::default()).unwrap_err();
    assert_eq!(refusal.rule, "FirmwareId is mandatory for this action.");
    assert_eq!(refusal.code_text(), "MissingFirmwareId");
}

#[test]
fn source_versions() {
    let versions = |count: usize| (0..count).map(|n| format!("1.0.{n}")).collect::<Vec<_>>();
    assert_eq!(versions(10).len(), 10);
    for good in [all(), gray()] {
        taken(&good, parse, &[|p| p.src_version = (0..10).map(|n| format!("1.0.{n}")).collect()]);
        refused(
            &good,
            parse,
            &[
                (|p| p.src_version = vec!["1".into(); 11], "SrcVersion", Code::InvalidSrcVersion),
                (|p| p.src_version = texts(&["1", "2", "1"]), "SrcVersion.3", Code::InvalidSrcVersion),
                (|p| p.src_version = texts(&["1", "a b"]), "SrcVersion.2", Code::InvalidSrcVersion),
            ],
        );
    }
}

#[test]
fn target_devices_by_name() {
    taken(&specific(), parse, &[|p| p.target_device_name = numbered(200)]);
    refused(
        &specific(),
        parse,
        &[
            (|p| p.target_device_name = vec![], "TargetDeviceName", Code::MissingParameter),
            (|p| p.target_device_name = numbered(201), "TargetDeviceName", Code::InvalidTargetDevices),
            (|p| p.target_device_name[0] = "a/b/c".into(), "TargetDeviceName.1", Code::InvalidTargetDevices),
            (
                |p| p.target_device_name = texts(&["dev_1", "dev_1"]),
                "TargetDeviceName.2",
                Code::InvalidTargetDevices,
            ),
            (|p| p.dn_list_file_url = text("https://x/1"), "DnListFileUrl", Code::InvalidTargetDevices),
        ],
    );
}

#[test]
fn a_device_list_file() {
    let file = StaticUpgradeParams {
        target_device_name: vec![],
        dn_list_file_url: text("https://files/list.csv"),
        ..specific()
    };
    let target = Target::ListFile { file_url: "https://files/list.csv".into() };
    assert_eq!(parse(&file).unwrap().target, target);
    refused(
        &file,
        parse,
        &[
            (|p| p.dn_list_file_url = None, "TargetDeviceName", Code::MissingParameter),
            (|p| p.dn_list_file_url = Some("x".repeat(1_025)), "DnListFileUrl", Code::DeviceListFileInvalid),
            (|p| p.dn_list_file_url = text("a\0b"), "DnListFileUrl", Code::DeviceListFileInvalid),
        ],
    );
}

#[test]
fn groups() {
    assert_eq!(parse(&group()).unwrap().target, Target::Group { group_id: "g1".into() });
    refused(
        &group(),
        parse,
        &[
            (|p| p.group_id = None, "GroupId", Code::MissingParameter),
            (|p| p.group_type = None, "GroupType", Code::MissingParameter),
            (|p| p.group_type = text("LINK_PLATFORM_DYNAMIC"), "GroupType", Code::InvalidTargetSelection),
            (|p| p.group_id = Some("g".repeat(65)), "GroupId", Code::InvalidTargetSelection),
        ],
    );
}

#[test]
fn percentages() {
    taken(&gray(), parse, &[|p| p.gray_percent = text("0.001"), |p| p.gray_percent = text("100")]);
    refused(
        &gray(),
        parse,
        &[
            (|p| p.gray_percent = None, "GrayPercent", Code::MissingParameter),
            (|p| p.gray_percent = text("0"), "GrayPercent", Code::InvalidGrayPercent),
            (|p| p.gray_percent = text("100.001"), "GrayPercent", Code::InvalidGrayPercent),
            (|p| p.gray_percent = text("1.2345"), "GrayPercent", Code::InvalidGrayPercent),
        ],
    );
}

#[test]
fn parameters_of_another_selection_are_not_available() {
    let strangers: [(Edit<StaticUpgradeParams>, &[&str]); 6] = [
        ((|p| p.src_version = texts(&["1"]), "SrcVersion", Code::InvalidSrcVersion), &["SPECIFIC", "GROUP"]),
        (
            (|p| p.target_device_name = texts(&["dev_1"]), "TargetDeviceName", Code::InvalidTargetDevices),
            &["ALL", "GRAY", "GROUP"],
        ),
        (
            (|p| p.dn_list_file_url = text("https://x/1"), "DnListFileUrl", Code::InvalidTargetDevices),
            &["ALL", "GRAY", "GROUP"],
        ),
        (
            (|p| p.group_id = text("g1"), "GroupId", Code::InvalidTargetSelection),
            &["ALL", "SPECIFIC", "GRAY"],
        ),
        (
            (|p| p.group_type = text("LINK_PLATFORM"), "GroupType", Code::InvalidTargetSelection),
            &["ALL", "SPECIFIC", "GRAY"],
        ),
        (
            (|p| p.gray_percent = text("50"), "GrayPercent", Code::InvalidGrayPercent),
            &["ALL", "SPECIFIC", "GROUP"],
        ),
    ];
    for good in [all(), specific(), gray(), group()] {
        let selection = good.target_selection.clone().unwrap();
        let edits: Vec<_> = strangers
            .iter()
            .filter(|(_, selections)| selections.contains(&selection.as_str()))
            .map(|(edit, _)| *edit)
            .collect();
        assert!(edits.len() >= 4);
        refused(&good, parse, &edits);
    }
}

#[test]
fn schedule_times() {
    taken(
        &all(),
        parse,
        &[
            |p| p.schedule_time = Some(NOW + 5 * MINUTES),
            |p| p.schedule_time = Some(NOW + 7 * DAYS),
            |p| p.schedule_finish_time = Some(NOW + HOURS),
            |p| p.schedule_finish_time = Some(NOW + 30 * DAYS),
            |p| {
                p.schedule_time = Some(NOW + 7 * DAYS);
                p.schedule_finish_time = Some(NOW + 37 * DAYS);
            },
        ],
    );
    refused(
        &all(),
        parse,
        &[
            (|p| p.schedule_time = Some(NOW + 5 * MINUTES - 1), "ScheduleTime", Code::InvalidScheduleTime),
            (|p| p.schedule_time = Some(NOW + 7 * DAYS + 1), "ScheduleTime", Code::InvalidScheduleTime),
            (|p| p.schedule_time = Some(NOW / 1_000), "ScheduleTime", Code::InvalidScheduleTime),
            (|p| p.schedule_time = Some(i64::MAX), "ScheduleTime", Code::InvalidScheduleTime),
            (
                |p| p.schedule_finish_time = Some(NOW + HOURS - 1),
                "ScheduleFinishTime",
                Code::InvalidScheduleFinishTime,
            ),
            (
                |p| p.schedule_finish_time = Some(NOW + 30 * DAYS + 1),
                "ScheduleFinishTime",
                Code::InvalidScheduleFinishTime,
            ),
            (
                |p| {
                    p.schedule_time = Some(NOW + 2 * HOURS);
                    p.schedule_finish_time = Some(NOW + 3 * HOURS - 1);
                },
                "ScheduleFinishTime",
                Code::InvalidScheduleFinishTime,
            ),
            (|p| p.schedule_finish_time = Some(-1), "ScheduleFinishTime", Code::InvalidScheduleFinishTime),
        ],
    );
}

#[test]
fn retries_and_timeouts() {
    taken(
        &all(),
        parse,
        &[
            |p| (p.job.retry_interval, p.job.retry_count) = (Some(0), Some(1)),
            |p| (p.job.retry_interval, p.job.retry_count) = (Some(1_440), Some(5)),
            |p| {
                (p.job.retry_interval, p.job.retry_count) = (Some(0), Some(1));
                p.job.timeout_in_minutes = Some(1);
            },
            |p| p.job.timeout_in_minutes = Some(1_440),
            |p| p.job.offer_timeout_in_minutes = Some(1),
        ],
    );
    refused(
        &all(),
        parse,
        &[
            (|p| p.job.retry_interval = Some(10), "RetryCount", Code::MissingParameter),
            (|p| p.job.retry_count = Some(1), "RetryInterval", Code::MissingParameter),
            (
                |p| (p.job.retry_interval, p.job.retry_count) = (Some(5), Some(1)),
                "RetryInterval",
                Code::InvalidRetry,
            ),
            (
                |p| (p.job.retry_interval, p.job.retry_count) = (Some(0), Some(3)),
                "RetryCount",
                Code::InvalidRetry,
            ),
            (
                |p| {
                    (p.job.retry_interval, p.job.retry_count) = (Some(10), Some(1));
                    p.job.timeout_in_minutes = Some(10);
                },
                "RetryInterval",
                Code::InvalidRetry,
            ),
            (|p| p.job.timeout_in_minutes = Some(0), "TimeoutInMinutes", Code::InvalidTimeout),
            (|p| p.job.timeout_in_minutes = Some(1_441), "TimeoutInMinutes", Code::InvalidTimeout),
            (|p| p.job.offer_timeout_in_minutes = Some(0), "OfferTimeoutInMinutes", Code::InvalidTimeout),
            (|p| p.job.offer_timeout_in_minutes = Some(1_441), "OfferTimeoutInMinutes", Code::InvalidTimeout),
        ],
    );
    let mut params = all();
    (params.job.retry_interval, params.job.retry_count) = (Some(30), Some(2));
    let retry = parse(&params).unwrap().policy.retry.unwrap();
    assert_eq!((retry.interval, retry.count), (30 * MINUTE, 2));
}

#[test]
fn rates() {
    taken(
        &all(),
        parse,
        &[|p| p.job.maximum_per_minute = Some(10), |p| p.job.maximum_per_minute = Some(10_000)],
    );
    refused(
        &all(),
        parse,
        &[
            (|p| p.job.maximum_per_minute = Some(9), "MaximumPerMinute", Code::InvalidMaximumPerMinute),
            (|p| p.job.maximum_per_minute = Some(10_001), "MaximumPerMinute", Code::InvalidMaximumPerMinute),
            (
                |p| p.job.maximum_per_minute = Some(i64::MIN),
                "MaximumPerMinute",
                Code::InvalidMaximumPerMinute,
            ),
        ],
    );
}

#[test]
fn an_operator_moves_the_ceiling_of_rates() {
    let under = |ceiling, wanted| {
        let limits = Limits { maximum_per_minute_ceiling: ceiling, ..Limits::default() };
        let mut params = all();
        params.job.maximum_per_minute = wanted;
        let job = params.parse(Timestamp::from_millis(NOW), &limits);
        job.map(|job| job.policy.maximum_per_minute.get())
    };
    assert_eq!(under(None, Some(100_000_000)), Ok(100_000_000));
    assert!(under(None, Some(1 << 40)).is_err());
    assert_eq!(under(Some(500), None), Ok(500));
    assert!(under(Some(500), Some(501)).unwrap_err().rule.contains("10 to 500"));
    assert_eq!(under(None, None), Ok(10_000));
    assert_eq!(under(Some(1), None), Ok(10));
}

#[test]
fn modes() {
    taken(
        &all(),
        parse,
        &[
            |p| p.job.overwrite_mode = Some(2),
            |p| (p.job.overwrite_mode, p.job.multi_module_mode) = (Some(1), Some(true)),
            |p| (p.job.overwrite_mode, p.job.multi_module_mode) = (Some(2), Some(false)),
            |p| p.job.download_protocol = text("MQTT"),
        ],
    );
    refused(
        &all(),
        parse,
        &[
            (|p| p.job.overwrite_mode = Some(0), "OverwriteMode", Code::InvalidParameter),
            (
                |p| (p.job.overwrite_mode, p.job.multi_module_mode) = (Some(2), Some(true)),
                "OverwriteMode",
                Code::InvalidParameter,
            ),
            (|p| p.job.download_protocol = text("FTP"), "DownloadProtocol", Code::InvalidParameter),
        ],
    );
}

#[test]
fn tags() {
    taken(
        &all(),
        parse,
        &[
            |p| p.job.tag = (0..10).map(|n| tag(&format!("k.{n}"), "v")).collect(),
            |p| p.job.tag = vec![tag(&"k".repeat(30), &"ü".repeat(1_024))],
            |p| p.job.tag = (0..4).map(|n| tag(&format!("k{n}"), &"v".repeat(1_022))).collect(),
        ],
    );
    refused(
        &all(),
        parse,
        &[
            (|p| p.job.tag = (0..11).map(|n| tag(&format!("k{n}"), "v")).collect(), "Tag", Code::InvalidTags),
            (|p| p.job.tag = vec![tag("a", "1"), tag("b_c", "2")], "Tag.2.Key", Code::InvalidTags),
            (|p| p.job.tag = vec![tag(&"k".repeat(31), "1")], "Tag.1.Key", Code::InvalidTags),
            (|p| p.job.tag = vec![tag("a", "1"), tag("a", "2")], "Tag.2.Key", Code::InvalidTags),
            (|p| p.job.tag = vec![tag("a", &"v".repeat(1_025))], "Tag.1.Value", Code::InvalidTags),
            (
                |p| p.job.tag = vec![TagParams { key: text("a"), value: None }],
                "Tag.1.Value",
                Code::MissingParameter,
            ),
            (
                |p| p.job.tag = vec![TagParams { key: None, value: text("v") }],
                "Tag.1.Key",
                Code::MissingParameter,
            ),
            (
                |p| p.job.tag = (0..4).map(|n| tag(&format!("k{n}"), &"v".repeat(1_023))).collect(),
                "Tag",
                Code::InvalidTags,
            ),
        ],
    );
}

#[test]
fn our_own_parameters() {
    taken(
        &all(),
        parse,
        &[
            |p| p.job.job_desc = Some("ü".repeat(100)),
            |p| p.job.client_token = text("3f1a-77"),
            |p| p.job.client_token = text(""),
        ],
    );
    refused(
        &all(),
        parse,
        &[
            (|p| p.job.job_desc = Some("x".repeat(101)), "JobDesc", Code::InvalidParameter),
            (|p| p.job.client_token = Some("x".repeat(65)), "ClientToken", Code::InvalidParameter),
            (|p| p.job.client_token = text("a b"), "ClientToken", Code::InvalidParameter),
        ],
    );
}

#[test]
fn verify_jobs() {
    let parse = |params: &VerifyParams| params.parse(&Limits::default());
    taken(&verify(), parse, &[|p| p.target_device_name = numbered(10)]);
    refused(
        &verify(),
        parse,
        &[
            (|p| p.target_device_name = vec![], "TargetDeviceName", Code::MissingParameter),
            (|p| p.target_device_name = numbered(11), "TargetDeviceName", Code::InvalidTargetDevices),
            (
                |p| p.target_device_name = texts(&["dev_1", "dev_1"]),
                "TargetDeviceName.2",
                Code::InvalidTargetDevices,
            ),
            (|p| p.job.timeout_in_minutes = Some(1_441), "TimeoutInMinutes", Code::InvalidTimeout),
            (|p| p.job.firmware_id = None, "FirmwareId", Code::MissingParameter),
        ],
    );
    let job = parse(&verify()).unwrap();
    assert_eq!((job.kind, job.target.selection()), (JobKind::Verify, "SPECIFIC"));
}

#[test]
fn dynamic_jobs() {
    let parse = |params: &DynamicUpgradeParams| params.parse(&Limits::default()).map(|dynamic| dynamic.job);
    let grouped =
        DynamicUpgradeParams { group_id: text("g1"), group_type: text("LINK_PLATFORM_DYNAMIC"), ..dynamic() };
    taken(&dynamic(), parse, &[|p| p.src_version = texts(&["1.0"]), |p| p.dynamic_mode = Some(2)]);
    refused(
        &dynamic(),
        parse,
        &[
            (|p| p.dynamic_mode = Some(3), "DynamicMode", Code::InvalidParameter),
            (|p| p.src_version = texts(&["1", "1"]), "SrcVersion.2", Code::InvalidSrcVersion),
        ],
    );
    refused(
        &grouped,
        parse,
        &[
            (|p| p.group_type = None, "GroupType", Code::MissingParameter),
            (|p| p.group_id = None, "GroupId", Code::MissingParameter),
            (|p| p.group_type = text("LINK_PLATFORM"), "GroupType", Code::InvalidTargetSelection),
            (|p| p.src_version = texts(&["1"]), "SrcVersion", Code::InvalidSrcVersion),
        ],
    );
    assert_eq!(dynamic().parse(&Limits::default()).unwrap().mode, DynamicMode::NowAndLater);
}

#[test]
fn a_job_has_to_fit_its_firmware() {
    let version = |text| Version::parse(text).unwrap();
    let facts = |status| FirmwareFacts {
        status,
        dest_version: version("2.0"),
        module: ModuleName::default_module(),
        src_version: None,
    };
    let package = Package { files: 1, size_bytes: 100 };
    let code = |job: &NewJob, facts: &FirmwareFacts, package| fits(job, facts, package).err().map(|r| r.code);

    let (upgrade, verify) = (parse(&all()).unwrap(), verify().parse(&Limits::default()).unwrap());
    for (status, of_upgrade, of_verify) in [
        (FirmwareStatus::NoVerificationNeeded, None, Some(Code::FirmwareAlreadyVerified)),
        (FirmwareStatus::NotVerified, Some(Code::FirmwareNotVerified), None),
        (FirmwareStatus::Verified, None, Some(Code::FirmwareAlreadyVerified)),
        (FirmwareStatus::Verifying, Some(Code::FirmwareNotVerified), Some(Code::FirmwareVerifying)),
        (FirmwareStatus::VerificationFailed, Some(Code::FirmwareNotVerified), None),
    ] {
        assert_eq!(code(&upgrade, &facts(status), package), of_upgrade, "{status:?}");
        assert_eq!(code(&verify, &facts(status), package), of_verify, "{status:?}");
    }

    let difference = FirmwareFacts { src_version: Some(version("1.0")), ..facts(FirmwareStatus::Verified) };
    assert_eq!(code(&upgrade, &difference, package), None);
    let from =
        |versions: &[&str]| parse(&StaticUpgradeParams { src_version: texts(versions), ..all() }).unwrap();
    assert_eq!(code(&from(&["1.0"]), &difference, package), None);
    let refusal = fits(&from(&["1.0", "1.1"]), &difference, package).unwrap_err();
    assert_eq!((refusal.parameter.as_str(), refusal.code), ("SrcVersion.2", Code::InvalidSrcVersion));

    let mut by_mqtt = all();
    by_mqtt.job.download_protocol = text("MQTT");
    let (by_mqtt, verified) = (parse(&by_mqtt).unwrap(), facts(FirmwareStatus::Verified));
    assert_eq!(code(&by_mqtt, &verified, Package { files: 1, size_bytes: MQTT_MAX_BYTES }), None);
    for package in [Package { files: 2, size_bytes: 1 }, Package { files: 1, size_bytes: MQTT_MAX_BYTES + 1 }]
    {
        assert_eq!(code(&by_mqtt, &verified, package), Some(Code::InvalidParameter));
    }
}

fn any_text() -> impl Strategy<Value = Option<String>> {
    const KNOWN: &[&str] = &["ALL", "SPECIFIC", "GRAY", "GROUP", "LINK_PLATFORM", "MQTT", "50", "dev_1", ""];
    prop_oneof![
        Just(None),
        any::<String>().prop_map(Some),
        proptest::sample::select(KNOWN).prop_map(|text| Some(text.to_owned())),
        Just(Some("x".repeat(5_000))),
    ]
}

fn any_number() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![Just(None), any::<i64>().prop_map(Some), (-2_i64..20).prop_map(Some), Just(Some(NOW + HOURS))]
}

fn any_texts() -> impl Strategy<Value = Vec<String>> {
    let text = prop_oneof![any::<String>(), "[a-z_0-9]{4,8}"];
    proptest::collection::vec(text, 0..4)
}

fn any_job() -> impl Strategy<Value = JobParams> {
    let texts =
        [any_text().boxed(), any_text().boxed(), any_text().boxed(), any_text().boxed(), any_text().boxed()];
    let numbers = proptest::collection::vec(any_number(), 6);
    let tags = proptest::collection::vec((any_text(), any_text()), 0..4);
    (texts, numbers, any::<[Option<bool>; 3]>(), tags, any::<bool>()).prop_map(
        |(texts, numbers, flags, tags, bare)| {
            let [product_key, firmware_id, download_protocol, job_desc, client_token] = texts;
            let params = JobParams {
                product_key,
                firmware_id,
                maximum_per_minute: numbers[0],
                retry_interval: numbers[1],
                retry_count: numbers[2],
                timeout_in_minutes: numbers[3],
                offer_timeout_in_minutes: numbers[4],
                overwrite_mode: numbers[5],
                multi_module_mode: flags[0],
                need_push: flags[1],
                need_confirm: flags[2],
                download_protocol,
                tag: tags.into_iter().map(|(key, value)| TagParams { key, value }).collect(),
                job_desc,
                client_token,
            };
            // Chance alone hardly ever gets past the first rule.
            if bare {
                job()
            } else {
                JobParams { product_key: text("pk"), firmware_id: text("fw"), ..params }
            }
        },
    )
}

proptest! {
    #[test]
    fn no_request_makes_parsing_panic_and_every_refusal_names_its_parameter(
        job in any_job(),
        texts in [any_text(), any_text(), any_text(), any_text(), any_text()],
        lists in (any_texts(), any_texts()),
        numbers in [any_number(), any_number(), any_number()],
        now in any::<i64>(),
        ceiling in any::<Option<u32>>(),
    ) {
        let [target_selection, dn_list_file_url, group_id, group_type, gray_percent] = texts;
        let [schedule_time, schedule_finish_time, dynamic_mode] = numbers;
        let (src_version, target_device_name) = lists;
        let limits = Limits {
            maximum_per_minute_ceiling: ceiling,
            list: ListLimits::default(),
            firmware_max_bytes: 1,
        };
        let upgrade = StaticUpgradeParams {
            job: job.clone(),
            target_selection,
            src_version: src_version.clone(),
            target_device_name: target_device_name.clone(),
            dn_list_file_url,
            group_id: group_id.clone(),
            group_type: group_type.clone(),
            gray_percent,
            schedule_time,
            schedule_finish_time,
        };
        let verify = VerifyParams { job: job.clone(), target_device_name };
        let dynamic = DynamicUpgradeParams { job, src_version, group_id, group_type, dynamic_mode };
        let refusals = [
            upgrade.parse(Timestamp::from_millis(now), &limits).err(),
            verify.parse(&limits).err(),
            dynamic.parse(&limits).err(),
        ];
        for refusal in refusals.into_iter().flatten() {
            prop_assert!(refusal.rule.starts_with(&refusal.parameter));
            prop_assert!(!refusal.parameter.is_empty() && refusal.rule.len() < 300, "{}", refusal);
        }
    }
}
