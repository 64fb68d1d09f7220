//! A server with what the cases need: products, devices, packages, a list, groups; and the words that stand
//! for them in the tables.
//!
//! | a value | stands for |
//! |---|---|
//! | `@name` | the id or address of the thing of this name; [`Stage::thing`] has them |
//! | `@in n` | the instant in n seconds, in milliseconds |
//! | `@start n` | n milliseconds after the instant that `@start 0` is, an hour from now |
//! | `@x n` | n letters |
//!
//! A name that ends in `.*` is a list: its value is cut at blanks. `@names n` are the names of n devices,
//! `@versions n` are n versions, and `@tags n m` n tags with values of m letters.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use otaria_proto::v1::{
    CreateOtaFirmwareRequest, FirmwareFile, FirmwareStatus, FirmwareType, ListOtaJobByFirmwareRequest,
    QueryOtaFirmwareRequest,
};
use rumqttc::mqttbytes::QoS;
use tonic_types::StatusExt;

use super::{Base, Change, Outcome};
use crate::cloud::{Cloud, Params, now, params};
use crate::device::{Device, Temper};
use crate::faces::Faces;
use crate::rollout::{product, register, upload_list};
use crate::server::Server;
use crate::{SOON, eventually, grpc};

/// Bytes above which a package is not downloaded over MQTT.
const MQTT_MAX_BYTES: usize = 16 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Face {
    Grpc,
    Http,
}

pub(super) struct Stage {
    pub(super) server: Server,
    faces: Faces,
    cloud: Cloud,
    things: BTreeMap<&'static str, String>,
    /// Every firmware that there is, and how many jobs were made in all.
    firmware: Vec<String>,
    jobs: usize,
}

impl Stage {
    pub(super) async fn new() -> Self {
        let server = Server::start().await;
        let (faces, cloud) = (server.faces(), Cloud::new(server.at().http, server.admin_key()));
        let mut stage = Self { server, faces, cloud, things: BTreeMap::new(), firmware: Vec::new(), jobs: 0 };
        stage.products().await;
        stage.packages().await;
        stage.sources().await;
        stage
    }

    /// A product of 200 devices without a version, and one of nine, of which three run version 1.0.
    async fn products(&mut self) {
        let large = product(&self.faces, "large").await;
        register(&self.faces, &large, (1..=200).map(|n| format!("dev-{n:03}"))).await;
        let small = product(&self.faces, "small").await;
        let known = register(&self.faces, &small, (1..=9).map(|n| format!("small-{n}"))).await;
        let mqtt = self.server.at().mqtt;
        let start = |of| Device::start_at("1.0", QoS::AtLeastOnce, mqtt, &small, of, Temper::Mute(SOON));
        let devices: Vec<Device> = known[..3].iter().map(start).collect();
        let informed = async || devices.iter().all(|device| device.informed() == "1.0").then_some(());
        eventually("three devices say what they run", SOON, informed).await;
        self.things.extend([("large", large), ("small", small)]);
    }

    async fn packages(&mut self) {
        self.firmware("firmware", "large", |_| ()).await;
        self.firmware("small-firmware", "small", |_| ()).await;
        self.firmware("difference", "small", |request| {
            request.r#type = FirmwareType::Difference.into();
            request.src_version = Some("1.0".into());
        })
        .await;
        let largest = self.upload(&vec![7; MQTT_MAX_BYTES]).await;
        self.firmware("16-MB", "large", |request| request.firmware_url = Some(largest)).await;
        let larger = self.upload(&vec![7; MQTT_MAX_BYTES + 1]).await;
        self.firmware("over-16-MB", "large", |request| request.firmware_url = Some(larger)).await;
        let files = [self.upload(b"one").await, self.upload(b"two").await];
        self.firmware("two-files", "large", |request| {
            request.firmware_url = None;
            let files = files.into_iter().map(|url| FirmwareFile {
                name: url[url.len() - 8..].into(),
                url,
                ..FirmwareFile::default()
            });
            request.multi_files = files.collect();
        })
        .await;
        self.firmware("unverified", "large", |request| request.need_to_verify = None).await;
        self.firmware("verifying", "large", |request| request.need_to_verify = None).await;
        let made = self.play(Face::Grpc, Base::Verify, &[("FirmwareId", "@verifying")], Outcome::Taken);
        made.await.unwrap();
        self.verified().await;
    }

    /// A firmware that a device has proven.
    async fn verified(&mut self) {
        self.firmware("verified", "large", |request| request.need_to_verify = None).await;
        let product_key = self.things["large"].clone();
        let prover = register(&self.faces, &product_key, ["prover".to_owned()]).await.remove(0);
        let change: Change = &[("FirmwareId", "@verified"), ("TargetDeviceName.1", "prover")];
        self.play(Face::Grpc, Base::Verify, change, Outcome::Taken).await.unwrap();
        let temper = Temper::Good(Duration::from_millis(1));
        let _prover = Device::start(self.server.at().mqtt, &product_key, &prover, temper);
        let request = QueryOtaFirmwareRequest { firmware_id: self.things["verified"].clone() };
        let verified = async || {
            let answer = self.faces.firmware().query_ota_firmware(request.clone()).await;
            let info = answer.unwrap().into_inner().firmware_info.unwrap();
            (info.status() == FirmwareStatus::Verified).then_some(())
        };
        eventually("a device proves it", SOON, verified).await;
    }

    async fn sources(&mut self) {
        let list = upload_list(&self.faces, b"dev-001\ndev-002\nghost-1\n").await.unwrap().into_inner();
        let group = self.group("CreateDeviceGroup", &[("GroupName", "two_devices")]).await;
        let more = [
            ("GroupId", group.as_str()),
            ("Device.1.ProductKey", &self.things["large"]),
            ("Device.1.DeviceName", "dev-001"),
            ("Device.2.ProductKey", &self.things["large"]),
            ("Device.2.DeviceName", "dev-002"),
        ];
        self.cloud.call("BatchAddDeviceGroupRelations", &params(&more)).await.done();
        self.things.extend([("list", list.file_url), ("group", group)]);
    }

    /// A dynamic job for a group, as it comes when nothing else is said.
    async fn standing(&mut self) {
        if self.things.contains_key("standing") {
            return;
        }
        self.firmware("standing", "small", |_| ()).await;
        let group = self.dynamic_group(&self.things["small"]).await;
        self.things.insert("standing-group", group);
        let job = [
            ("FirmwareId", self.things["standing"].as_str()),
            ("ProductKey", &self.things["small"]),
            ("GroupId", &self.things["standing-group"]),
            ("GroupType", "LINK_PLATFORM_DYNAMIC"),
        ];
        self.cloud.call("CreateOTADynamicUpgradeJob", &params(&job)).await.done();
        self.jobs += 1;
    }

    async fn group(&self, action: &str, of: &[(&str, &str)]) -> String {
        let made = self.cloud.call(action, &params(of)).await.done();
        made["Data"]["GroupId"].as_str().unwrap().to_owned()
    }

    /// A new dynamic group of the devices of a product.
    async fn dynamic_group(&self, product: &str) -> String {
        let name = format!("group_{}", rand::random::<u32>());
        let rule = format!("product_key = \"{product}\"");
        let of = [("GroupName", name.as_str()), ("DynamicGroupExpression", &rule)];
        self.group("CreateDeviceDynamicGroup", &of).await
    }

    async fn upload(&self, file: &[u8]) -> String {
        let form = self.cloud.form("GenerateOTAUploadURL").await;
        let answer = self.cloud.post(&form, &[], file).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        form["FirmwareUrl"].as_str().unwrap().to_owned()
    }

    /// Makes a firmware of a product of this name, which needs no verification unless told otherwise.
    async fn firmware(
        &mut self,
        name: &'static str,
        product: &str,
        change: impl FnOnce(&mut CreateOtaFirmwareRequest),
    ) {
        let mut request = CreateOtaFirmwareRequest {
            firmware_name: format!("firmware-{}", self.firmware.len()),
            dest_version: "2.0".into(),
            firmware_url: Some(self.upload(b"package").await),
            product_key: self.things[product].clone(),
            need_to_verify: Some(false),
            ..CreateOtaFirmwareRequest::default()
        };
        change(&mut request);
        let made = self.faces.firmware().create_ota_firmware(request).await.unwrap().into_inner();
        self.firmware.push(made.firmware_id.clone());
        self.things.insert(name, made.firmware_id);
    }

    /// Makes a call, and tells what was found where it is not what was expected.
    pub(super) async fn play(
        &mut self,
        face: Face,
        base: Base,
        change: Change,
        expected: Outcome,
    ) -> Result<(), String> {
        let (action, given) = self.given(base).await;
        let mut params = params(&given.iter().map(|(n, v)| (*n, v.as_str())).collect::<Vec<_>>());
        let start = now().as_millisecond() + 3_600_000;
        for (name, value) in change {
            match name.strip_suffix(".*") {
                Some(list) => self.fill(&mut params, list, value),
                None => drop(params.insert((*name).to_owned(), self.value(value, start))),
            }
        }
        params.retain(|_, value| !value.is_empty());
        let made = match face {
            Face::Grpc => self.over_grpc(action, &params).await,
            Face::Http => self.over_http(action, &params).await,
        };
        if made.is_ok() {
            self.jobs += 1;
        }
        match (expected, made) {
            (Outcome::Taken, Ok(_)) => Ok(()),
            (Outcome::Tasks(count), Ok(job)) => match self.tasks_of(&job).await {
                found if found == count => Ok(()),
                found => Err(format!("{found} tasks, not {count}")),
            },
            (Outcome::Refused(..), Ok(job)) => Err(format!("taken as {job}")),
            (Outcome::Refused(parameter, code), Err((found, by, _))) if found == parameter && by == code => {
                Ok(())
            }
            (_, Err((parameter, code, message))) => {
                Err(format!("refused for `{parameter}` under {code}: {message}"))
            }
        }
    }

    /// The id of the new job; or parameter, code and message of a refusal.
    async fn over_grpc(&self, action: &str, params: &Params) -> Result<String, (String, String, String)> {
        let status = match grpc::call(&self.faces, action, params).await {
            Ok(made) => return Ok(made.get_field_by_name("job_id").unwrap().as_str().unwrap().to_owned()),
            Err(status) => status,
        };
        let details = status.get_error_details();
        let reason = details.error_info().map(|info| info.reason.clone()).unwrap_or_default();
        let violations = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
        let fields: Vec<String> = violations
            .into_iter()
            // The rule is told beside the field, and says which one it is of.
            .filter(|violation| violation.description.starts_with(&format!("{} ", violation.field)))
            .map(|violation| violation.field)
            .collect();
        Err((fields.join(","), reason, status.message().to_owned()))
    }

    async fn over_http(&self, action: &str, params: &Params) -> Result<String, (String, String, String)> {
        let said = self.cloud.call(action, params).await;
        if said.json["Success"] == true {
            return Ok(said.done()["Data"]["JobId"].as_str().unwrap().to_owned());
        }
        let (code, message) = said.refused();
        // A message begins with the parameter.
        let parameter = message.split(' ').next().unwrap_or_default();
        Err((parameter.to_owned(), code.to_owned(), message.to_owned()))
    }

    async fn tasks_of(&self, job: &str) -> u64 {
        let listed = self.cloud.call("ListOTATaskByJob", &params(&[("JobId", job)])).await.done();
        listed["Total"].as_u64().unwrap()
    }

    /// There are as many jobs as were made.
    pub(super) async fn assert_refusals_made_nothing(&self) {
        let mut jobs = BTreeSet::new();
        for firmware_id in &self.firmware {
            let request = ListOtaJobByFirmwareRequest {
                firmware_id: firmware_id.clone(),
                page_size: Some(1_000),
                ..ListOtaJobByFirmwareRequest::default()
            };
            let page = self.faces.jobs().list_ota_job_by_firmware(request).await.unwrap().into_inner();
            assert_eq!(usize::try_from(page.total).unwrap(), page.jobs.len(), "all on one page");
            jobs.extend(page.jobs.into_iter().map(|job| job.job_id));
        }
        assert_eq!(jobs.len(), self.jobs);
    }

    /// The action and the parameters of a base.
    async fn given(&mut self, base: Base) -> (&'static str, Vec<(&'static str, String)>) {
        let of = |product: &str, firmware: &str, more: &[(&'static str, &str)]| {
            let mut given = vec![
                ("ProductKey", self.things[product].clone()),
                ("FirmwareId", self.things[firmware].clone()),
            ];
            given.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
            given
        };
        let selected = |product: &str, firmware: &str, selection: &str, more: &[(&'static str, &str)]| {
            let given = of(product, firmware, &[&[("TargetSelection", selection)], more].concat());
            ("CreateOTAStaticUpgradeJob", given)
        };
        match base {
            Base::All => selected("small", "small-firmware", "ALL", &[]),
            Base::Specific => selected("large", "firmware", "SPECIFIC", &[("TargetDeviceName.1", "dev-001")]),
            Base::File => {
                selected("large", "firmware", "SPECIFIC", &[("DnListFileUrl", &self.things["list"])])
            }
            Base::Gray => selected("small", "small-firmware", "GRAY", &[("GrayPercent", "50")]),
            Base::Group => {
                let group = [("GroupId", self.things["group"].as_str()), ("GroupType", "LINK_PLATFORM")];
                selected("large", "firmware", "GROUP", &group)
            }
            Base::Verify => {
                self.firmware("fresh", "large", |request| request.need_to_verify = None).await;
                let given =
                    [("FirmwareId", "@fresh"), ("ProductKey", "@large"), ("TargetDeviceName.1", "dev-001")];
                ("CreateOTAVerifyJob", given.map(|(name, value)| (name, self.value(value, 0))).into())
            }
            Base::Dynamic => {
                self.standing().await;
                self.firmware("fresh", "small", |_| ()).await;
                let given = [("FirmwareId", "@fresh"), ("ProductKey", "@small")];
                ("CreateOTADynamicUpgradeJob", given.map(|(name, value)| (name, self.value(value, 0))).into())
            }
            Base::DynamicGroup => {
                self.standing().await;
                self.firmware("fresh", "small", |_| ()).await;
                let group = self.dynamic_group(&self.things["small"]).await;
                let given = vec![
                    ("FirmwareId", self.things["fresh"].clone()),
                    ("ProductKey", self.things["small"].clone()),
                    ("GroupId", group),
                    ("GroupType", "LINK_PLATFORM_DYNAMIC".to_owned()),
                ];
                ("CreateOTADynamicUpgradeJob", given)
            }
        }
    }

    /// What a word stands for.
    fn value(&self, text: &str, start: i64) -> String {
        let Some(word) = text.strip_prefix('@') else { return text.to_owned() };
        match word.split_once(' ') {
            None => self.things[word].clone(),
            Some(("in", seconds)) => {
                (now().as_millisecond() + 1_000 * seconds.parse::<i64>().unwrap()).to_string()
            }
            Some(("start", millis)) => (start + millis.parse::<i64>().unwrap()).to_string(),
            Some(("x", count)) => "x".repeat(count.parse().unwrap()),
            Some(_) => panic!("no such word: {text}"),
        }
    }

    /// Puts a list in place of what stood there.
    fn fill(&self, params: &mut Params, list: &str, text: &str) {
        params.retain(|name, _| !name.starts_with(&format!("{list}.")));
        let number = |text: &str| text.parse::<usize>().unwrap();
        let mut set = |place: String, value: String| drop(params.insert(format!("{list}.{place}"), value));
        match text.split(' ').collect::<Vec<_>>()[..] {
            ["@names", count] => {
                (1..=number(count)).for_each(|n| set(n.to_string(), format!("dev-{n:03}")));
            }
            ["@versions", count] => (1..=number(count)).for_each(|n| set(n.to_string(), format!("1.{n}"))),
            ["@tags", count, letters] => (1..=number(count)).for_each(|n| {
                set(format!("{n}.Key"), format!("key{n}"));
                set(format!("{n}.Value"), "v".repeat(number(letters)));
            }),
            _ => {
                for (n, word) in (1..).zip(text.split(' ').filter(|word| !word.is_empty())) {
                    set(n.to_string(), self.value(word, 0));
                }
            }
        }
    }
}
