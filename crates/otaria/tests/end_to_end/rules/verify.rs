//! Verify jobs.

use super::Base::Verify;
use super::{Case, refused, run, taken, tasks};

const RULES: &[&str] =
    &["1 to 10 devices of the product", "not while verifying or after", "TimeoutInMinutes"];

const DEVICES: &str = "iot.ota.InvalidTargetDevices";

const CASES: &[Case] = &[
    tasks("1 to 10 devices of the product", Verify, &[], 1),
    tasks("1 to 10 devices of the product", Verify, &[("TargetDeviceName.*", "@names 10")], 10),
    refused(
        "1 to 10 devices of the product",
        Verify,
        &[("TargetDeviceName.*", "@names 11")],
        "TargetDeviceName",
        DEVICES,
    ),
    refused(
        "1 to 10 devices of the product",
        Verify,
        &[("TargetDeviceName.*", "")],
        "TargetDeviceName",
        "MissingTargetDeviceName",
    ),
    refused(
        "1 to 10 devices of the product",
        Verify,
        &[("TargetDeviceName.*", "dev-001 dev-001")],
        "TargetDeviceName.2",
        DEVICES,
    ),
    refused(
        "1 to 10 devices of the product",
        Verify,
        &[("TargetDeviceName.*", "small-1")],
        "TargetDeviceName.1",
        DEVICES,
    ),
    refused(
        "1 to 10 devices of the product",
        Verify,
        &[("FirmwareId", "@difference")],
        "FirmwareId",
        "iot.ota.FirmwareNotFound",
    ),
    taken("not while verifying or after", Verify, &[]),
    refused(
        "not while verifying or after",
        Verify,
        &[("FirmwareId", "@verifying")],
        "FirmwareId",
        "iot.ota.FirmwareVerifying",
    ),
    refused(
        "not while verifying or after",
        Verify,
        &[("FirmwareId", "@verified")],
        "FirmwareId",
        "iot.ota.FirmwareAlreadyVerified",
    ),
    // One that needs no verification.
    refused(
        "not while verifying or after",
        Verify,
        &[("FirmwareId", "@firmware")],
        "FirmwareId",
        "iot.ota.FirmwareAlreadyVerified",
    ),
    taken("TimeoutInMinutes", Verify, &[("TimeoutInMinutes", "1")]),
    taken("TimeoutInMinutes", Verify, &[("TimeoutInMinutes", "1440")]),
    refused(
        "TimeoutInMinutes",
        Verify,
        &[("TimeoutInMinutes", "0")],
        "TimeoutInMinutes",
        "iot.ota.InvalidTimeout",
    ),
    refused(
        "TimeoutInMinutes",
        Verify,
        &[("TimeoutInMinutes", "1441")],
        "TimeoutInMinutes",
        "iot.ota.InvalidTimeout",
    ),
];

#[tokio::test]
async fn a_verify_job() {
    run(RULES, CASES).await;
}
