//! Verify jobs, dynamic jobs, and what a job wants of its firmware.

use super::*;
use crate::firmware::FirmwareStatus;
use crate::ids::{ModuleName, Version};

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
