//! Jobs and their tasks.

use serde_json::Value;

use crate::world::World;

/// Names and values.
type Pairs<'a> = &'a [(&'a str, &'a str)];

pub(crate) struct Fleet {
    pub(crate) world: World,
    pub(crate) product: String,
    pub(crate) firmware: String,
}

impl Fleet {
    /// Three devices and a firmware that needs no verification.
    pub(crate) async fn new() -> Self {
        let world = World::new().await;
        let product = world.product("lamp").await;
        for name in ["dev-1", "dev-2", "dev-3"] {
            world.device(&product, name).await;
        }
        let firmware = world.firmware(&product, "fw1", &[("NeedToVerify", "false")]).await;
        Self { world, product, firmware }
    }

    pub(crate) async fn job(&self, more: &[(&str, &str)]) -> String {
        let params = [("ProductKey", self.product.as_str()), ("FirmwareId", self.firmware.as_str())];
        let made = self.world.call("CreateOTAStaticUpgradeJob", &[&params, more].concat()).await.ok();
        assert_eq!(made["Data"]["UtcCreate"], "2026-11-21T08:00:00.000Z");
        made["Data"]["JobId"].as_str().unwrap().to_owned()
    }

    async fn query(&self, job: &str) -> Value {
        self.world.call("QueryOTAJob", &[("JobId", job)]).await.ok()["Data"].take()
    }
}

#[tokio::test]
async fn a_plain_job_shows_what_is_always_there_and_nothing_else() {
    let fleet = Fleet::new().await;
    let job = fleet.job(&[("TargetSelection", "ALL")]).await;
    let data = fleet.query(&job).await;
    let expected = serde_json::json!({
        "JobId": job, "JobDesc": "", "JobStatus": "IN_PROGRESS", "JobType": "UPGRADE_FIRMWARE",
        "SelectionType": "STATIC", "TargetSelection": "ALL", "FirmwareId": fleet.firmware, "Name": "fw1",
        "DestVersion": "2.0", "ProductKey": fleet.product, "SrcVersions": {"SrcVersion": []},
        "GroupId": "", "GroupName": "", "MaximumPerMinute": 10000, "OverwriteMode": 1,
        "MultiModuleMode": false, "NeedPush": true, "NeedConfirm": false, "DownloadProtocol": "HTTPS",
        "Tags": {"OtaTagDTO": []}, "UtcCreate": "2026-11-21T08:00:00.000Z",
        "UtcModified": "2026-11-21T08:00:00.000Z", "UtcStartTime": "2026-11-21T08:00:00.000Z",
    });
    assert_eq!(data, expected);
}

#[tokio::test]
async fn a_rich_job_shows_everything() {
    let fleet = Fleet::new().await;
    let job = fleet
        .job(&[
            ("TargetSelection", "ALL"),
            ("SrcVersion.2", "1.1"),
            ("SrcVersion.1", "1.0"),
            ("Tag.1.Key", "batch.name"),
            ("Tag.1.Value", "A b*c~d/e+f 升级"),
            ("RetryInterval", "30"),
            ("RetryCount", "2"),
            ("TimeoutInMinutes", "60"),
            ("MaximumPerMinute", "1000"),
            ("OverwriteMode", "2"),
            ("NeedPush", "False"),
            ("NeedConfirm", "True"),
            ("DownloadProtocol", "MQTT"),
            ("ScheduleTime", "1795251600000"),
            ("ScheduleFinishTime", "1795258800000"),
            ("ApiProduct", "Iot"),
        ])
        .await;
    let data = fleet.query(&job).await;
    let expected = [
        ("SrcVersions", serde_json::json!({"SrcVersion": ["1.0", "1.1"]})),
        ("Tags", serde_json::json!({"OtaTagDTO": [{"Key": "batch.name", "Value": "A b*c~d/e+f 升级"}]})),
        ("RetryInterval", 30.into()),
        ("RetryCount", 2.into()),
        ("TimeoutInMinutes", 60.into()),
        ("OverwriteMode", 2.into()),
        ("NeedPush", false.into()),
        ("NeedConfirm", true.into()),
        ("JobStatus", "PLANNED".into()),
        ("UtcScheduleTime", "2026-11-21T09:00:00.000Z".into()),
        ("UtcScheduleFinishTime", "2026-11-21T11:00:00.000Z".into()),
    ];
    for (name, value) in expected {
        assert_eq!(data[name], value, "{name}");
    }
    assert_eq!(data.get("UtcStartTime"), None);
}

#[tokio::test]
async fn a_paused_job_reads_in_progress() {
    let fleet = Fleet::new().await;
    let job = fleet.job(&[("TargetSelection", "ALL")]).await;
    let commands = otaria_engine::Commands::new(fleet.world.shell.clone());
    let (admin, _) = commands.signing_key("testak").await.unwrap();
    commands.pause_job(&admin, crate::world::NOW, &job).await.unwrap();
    assert_eq!(fleet.query(&job).await["JobStatus"], "IN_PROGRESS");
}

#[tokio::test]
async fn a_verify_job_takes_both_spellings_and_has_its_own() {
    for name in ["TargetDeviceName.1", "TargetDeviceNames.1"] {
        let fleet = Fleet::new().await;
        let firmware = fleet.world.firmware(&fleet.product, "fw2", &[]).await;
        let params = [("ProductKey", fleet.product.as_str()), ("FirmwareId", &firmware), (name, "dev-1")];
        let made = fleet.world.call("CreateOTAVerifyJob", &params).await.ok();
        let data = fleet.query(made["Data"]["JobId"].as_str().unwrap()).await;
        assert_eq!(
            (&data["JobType"], &data["TargetSelection"]),
            (&"VERFIY_FIRMWARE".into(), &"SPECIFIC".into())
        );
        let again = fleet.world.call("CreateOTAVerifyJob", &params).await.refused();
        assert_eq!(again, (200, "iot.ota.FirmwareVerifying".into()));
        let found = fleet.world.call("QueryOTAFirmware", &[("FirmwareId", &firmware)]).await.ok();
        assert_eq!(found["FirmwareInfo"]["Status"], 2);
    }
}

#[tokio::test]
async fn a_job_that_breaks_a_rule_is_told_which() {
    let fleet = Fleet::new().await;
    let rows: [(Pairs<'_>, u16, &str); 9] = [
        (&[], 400, "MissingTargetSelection"),
        (&[("TargetSelection", "SOME")], 200, "iot.ota.InvalidTargetSelection"),
        (&[("TargetSelection", "ALL"), ("MaximumPerMinute", "9")], 200, "iot.ota.InvalidMaximumPerMinute"),
        (&[("TargetSelection", "ALL"), ("MaximumPerMinute", "many")], 400, "InvalidMaximumPerMinute"),
        (&[("TargetSelection", "ALL"), ("NeedPush", "perhaps")], 400, "InvalidNeedPush"),
        (&[("TargetSelection", "ALL"), ("Tag.1.Key", "k")], 400, "MissingTag"),
        (
            &[("TargetSelection", "ALL"), ("Tag.1.Key", "k k"), ("Tag.1.Value", "v")],
            200,
            "iot.ota.InvalidTags",
        ),
        (
            &[("TargetSelection", "SPECIFIC"), ("TargetDeviceName.1", "dev-9")],
            200,
            "iot.ota.InvalidTargetDevices",
        ),
        (
            &[("TargetSelection", "SPECIFIC"), ("DnListFileUrl", "http://elsewhere/o/1")],
            200,
            "iot.ota.DeviceListFileInvalid",
        ),
    ];
    for (more, status, code) in rows {
        let params = [("ProductKey", fleet.product.as_str()), ("FirmwareId", fleet.firmware.as_str())];
        let answer = fleet.world.call("CreateOTAStaticUpgradeJob", &[&params, more].concat()).await;
        assert_eq!(answer.refused(), (status, code.to_owned()), "{}", answer.body);
    }
    let missing = fleet.world.call("CreateOTAStaticUpgradeJob", &[]).await;
    assert_eq!(missing.refused(), (400, "MissingFirmwareId".into()));
    assert_eq!(missing.json()["Message"], "FirmwareId is mandatory for this action.");
    let unknown = fleet.world.call("QueryOTAJob", &[("JobId", "nothing")]).await;
    assert_eq!(unknown.refused(), (200, "iot.ota.JobNotFound".into()));
}

#[tokio::test]
async fn a_job_is_changed_and_found_by_firmware_and_device() {
    let fleet = Fleet::new().await;
    let first = fleet.job(&[("TargetSelection", "ALL")]).await;
    let second = fleet.job(&[("TargetSelection", "SPECIFIC"), ("TargetDeviceName.1", "dev-1")]).await;
    let update =
        [("JobId", first.as_str()), ("MaximumPerMinute", "60"), ("Tags.1.Key", "k"), ("Tags.1.Value", "v")];
    fleet.world.call("UpdateOTAJob", &update).await.ok();
    let data = fleet.query(&first).await;
    assert_eq!(
        (&data["MaximumPerMinute"], &data["Tags"]["OtaTagDTO"][0]["Value"]),
        (&60.into(), &"v".into())
    );
    let refused = fleet.world.call("UpdateOTAJob", &[update[0], ("MaximumPerMinute", "1")]).await;
    assert_eq!(refused.refused(), (200, "iot.ota.InvalidMaximumPerMinute".into()));

    let by_firmware = [("FirmwareId", fleet.firmware.as_str()), ("PageSize", "1")];
    let listed = fleet.world.call("ListOTAJobByFirmware", &by_firmware).await.ok();
    let rows = &listed["Data"]["SimpleOTAJobInfo"];
    assert_eq!((&listed["Total"], &rows[0]["JobId"]), (&2.into(), &second.as_str().into()));
    assert_eq!(rows[0]["TargetSelection"], "SPECIFIC");

    let by_device = [
        ("ProductKey", fleet.product.as_str()),
        ("DeviceName", "dev-2"),
        ("FirmwareId", fleet.firmware.as_str()),
    ];
    let listed = fleet.world.call("ListOTAJobByDevice", &by_device).await.ok();
    let rows = &listed["Data"]["SimpleOTAJobInfo"];
    assert_eq!((&listed["Total"], &rows[0]["JobId"]), (&1.into(), &first.as_str().into()));
}

#[tokio::test]
async fn a_part_and_a_group_make_jobs_that_say_so() {
    let fleet = Fleet::new().await;
    let part = fleet.job(&[("TargetSelection", "GRAY"), ("GrayPercent", "66.7")]).await;
    assert_eq!(fleet.query(&part).await["GrayPercent"], "66.70");

    let made = fleet.world.call("CreateDeviceGroup", &[("GroupName", "hall"), ("GroupDesc", "x")]).await.ok();
    let group = made["Data"]["GroupId"].as_str().unwrap();
    let of_group = [("TargetSelection", "GROUP"), ("GroupId", group), ("GroupType", "LINK_PLATFORM")];
    let data = fleet.query(&fleet.job(&of_group).await).await;
    assert_eq!((&data["GroupId"], &data["GroupName"]), (&group.into(), &"hall".into()));
    assert_eq!(data.get("GrayPercent"), None);
}
