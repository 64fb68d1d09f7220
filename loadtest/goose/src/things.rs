//! What a test works on, made over the HTTP face before the load begins: a product, devices, packages, and one
//! job whose pace the devices' own record is held against.
//!
//! Never part of the load: none of these calls is measured.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::sign::{Key, Params, Style, sign};

/// Two versions for the jobs of the mix, so that a device that has one can get the other: there is something to do
/// however long a test takes.
const VERSIONS: [&str; 2] = ["2.0.0", "3.0.0"];
/// The version that only the paced job brings.
pub(crate) const PACED_VERSION: &str = "9.0.0";
/// Devices of the paced job at most: what one call may name.
const PACED_MAX: usize = 200;
/// The least that a job may ask for.
const PER_MINUTE_MIN: usize = 10;
/// Names that one call makes up.
const BATCH: usize = 10_000;
/// Rows of a page of devices.
const PAGE: usize = 50;
/// Between the parts of an upload form. No package of ours holds it.
const PARTING: &str = "otaria-loadtest-2f0a7c91";

/// Everything that the users of a test share.
#[derive(Debug)]
pub(crate) struct Things {
    pub(crate) key: Key,
    /// Where users go: they spread over these.
    pub(crate) hosts: Vec<String>,
    pub(crate) product: String,
    /// Devices of the jobs that users make.
    pub(crate) devices: Vec<String>,
    pub(crate) firmware: Vec<String>,
    /// Devices of the paced job; no other job is for them.
    pub(crate) paced: Vec<String>,
    pub(crate) paced_firmware: String,
    pub(crate) paced_per_minute: usize,
    /// Of every device, as the fleet reads them.
    secrets: String,
}

/// Calls the first host, and expects to be obeyed.
struct Maker {
    http: reqwest::Client,
    host: String,
    key: Key,
}

impl Things {
    /// Makes them: so many devices, half of them for the paced job.
    pub(crate) async fn make(hosts: Vec<String>, key: Key, devices: usize) -> Result<Arc<Self>> {
        let host = hosts.first().context("no host")?.clone();
        let maker = Maker { http: reqwest::Client::new(), host, key: key.clone() };
        let name = format!("load_{}", jiff::Timestamp::now().as_millisecond());
        let params = params(&[("ProductName", &name), ("NodeType", "0")]);
        let product = text(&maker.call("CreateProduct", &params).await?, "/ProductKey")?;

        let all = maker.devices(&product, devices).await?;
        ensure!(all.len() == devices, "{} of {devices} devices were registered", all.len());
        let secrets = all.iter().map(|(name, secret)| format!("{name},{secret}\n")).collect();
        let mut names = all.into_iter().map(|(name, _)| name);
        let paced: Vec<String> = names.by_ref().take((devices / 2).min(PACED_MAX)).collect();

        let mut firmware = Vec::new();
        for version in VERSIONS {
            firmware.push(maker.firmware(&product, version).await?);
        }
        Ok(Arc::new(Self {
            paced_firmware: maker.firmware(&product, PACED_VERSION).await?,
            // Fewer a minute than there are devices, so that a pace that does not hold shows.
            paced_per_minute: (paced.len() * 3 / 5).max(PER_MINUTE_MIN),
            key,
            hosts,
            product,
            devices: names.collect(),
            firmware,
            paced,
            secrets,
        }))
    }

    /// Writes `name,secret` lines of all devices.
    pub(crate) fn write_secrets(&self, file: &Path) -> Result<()> {
        std::fs::write(file, &self.secrets).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Begins the paced job.
    pub(crate) async fn begin_paced_job(&self) -> Result<()> {
        let maker =
            Maker { http: reqwest::Client::new(), host: self.hosts[0].clone(), key: self.key.clone() };
        let params = self.job(&self.paced_firmware, self.paced_per_minute, self.paced.iter());
        maker.call("CreateOTAStaticUpgradeJob", &params).await.map(drop)
    }

    /// The parameters of a job.
    pub(crate) fn job<'a>(
        &self,
        firmware: &str,
        per_minute: usize,
        names: impl Iterator<Item = &'a String>,
    ) -> Params {
        let mut params = params(&[
            ("ProductKey", &self.product),
            ("FirmwareId", firmware),
            ("TargetSelection", "SPECIFIC"),
            ("MaximumPerMinute", &per_minute.to_string()),
            // A device has at most one unfinished task; the newest job gets it.
            ("OverwriteMode", "2"),
        ]);
        params.extend((1..).zip(names).map(|(n, name)| (format!("TargetDeviceName.{n}"), name.clone())));
        params
    }
}

impl Maker {
    async fn call(&self, action: &str, params: &Params) -> Result<Value> {
        let signed = sign(Style::V3, &self.key, &self.host, action, params);
        let mut request = self.http.post(format!("http://{}/?{}", self.host, signed.query));
        for (name, value) in &signed.headers {
            request = request.header(*name, value);
        }
        let answer = request.send().await.with_context(|| format!("{action} at {}", self.host))?;
        let (status, body) = (answer.status(), answer.text().await?);
        let value: Value = serde_json::from_str(&body).unwrap_or_default();
        ensure!(value["Success"] == true, "{action} answers {status}: {body}");
        Ok(value)
    }

    /// Registers devices under names that the server makes up; returns names and secrets.
    async fn devices(&self, product: &str, count: usize) -> Result<Vec<(String, String)>> {
        let mut found = Vec::new();
        while found.len() < count {
            let batch = (count - found.len()).min(BATCH).to_string();
            let made = self
                .call("BatchRegisterDevice", &params(&[("ProductKey", product), ("Count", &batch)]))
                .await?;
            let apply = made["Data"]["ApplyId"].to_string();
            for page in 1.. {
                let wish = params(&[
                    ("ApplyId", &apply),
                    ("CurrentPage", &page.to_string()),
                    ("PageSize", &PAGE.to_string()),
                ]);
                let answer = self.call("QueryPageByApplyId", &wish).await?;
                let rows = answer["ApplyDeviceList"]["ApplyDeviceInfo"].as_array();
                let rows = rows.context("QueryPageByApplyId lists no devices")?;
                for row in rows {
                    found.push((text(row, "/DeviceName")?, text(row, "/DeviceSecret")?));
                }
                if rows.len() < PAGE {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Uploads a package by a form, and makes it a firmware.
    async fn firmware(&self, product: &str, version: &str) -> Result<String> {
        let form = self.call("GenerateOTAUploadURL", &params(&[("FileSuffix", "bin")])).await?;
        let field = |name: &str| text(&form, &format!("/Data/{name}"));
        let mut body = String::new();
        for (name, value) in [
            ("key", field("Key")?),
            ("policy", field("Policy")?),
            ("OSSAccessKeyId", field("OSSAccessKeyId")?),
            ("Signature", field("Signature")?),
        ] {
            body +=
                &format!("--{PARTING}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        }
        let package = format!("version {version} of a load test\n").repeat(200);
        body += &format!(
            "--{PARTING}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"package.bin\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n{package}\r\n--{PARTING}--\r\n"
        );
        let content_type = format!("multipart/form-data; boundary={PARTING}");
        let posted = self.http.post(field("Host")?).header("content-type", content_type).body(body);
        let answer = posted.send().await?;
        if !answer.status().is_success() {
            bail!("the package was not taken: {} {}", answer.status(), answer.text().await?);
        }
        let wish = params(&[
            ("ProductKey", product),
            ("FirmwareName", &format!("load_{}", version.replace('.', "_"))),
            ("DestVersion", version),
            ("FirmwareUrl", &field("FirmwareUrl")?),
            ("NeedToVerify", "false"),
        ]);
        text(&self.call("CreateOTAFirmware", &wish).await?, "/Data/FirmwareId")
    }
}

/// Parameters of these names and values.
pub(crate) fn params(pairs: &[(&str, &str)]) -> Params {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn text(value: &Value, place: &str) -> Result<String> {
    let found = value.pointer(place).and_then(Value::as_str);
    Ok(found.with_context(|| format!("the answer has no {place}: {value}"))?.to_owned())
}
