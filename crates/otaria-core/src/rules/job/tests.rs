//! What makes a job and what does not: the devices here, the rest in the modules below.

mod chance;
mod kinds;
mod policy;

use super::*;
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
