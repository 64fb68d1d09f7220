//! All that a rollout needs, through the public faces: product, devices, a verified package, the list file,
//! devices that are online.

use std::io::Cursor;
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::HumanCount;
use otaria_proto::v1::{
    CreateOtaFirmwareRequest, CreateOtaVerifyJobRequest, CreateProductRequest, FirmwareStatus, NodeType,
    QueryOtaFirmwareRequest, UploadFirmwareFileHeader,
};

use super::stage::Stage;
use super::world::World;
use crate::child::Server;
use crate::fleet::{Events, Fleet, Identity, Mode, Plan, Temper};
use crate::remote::{Remote, answer};
use crate::stopwatch::Stopwatch;

/// The version that all devices have at first, and the one that they get.
const SRC_VERSION: &str = "1.0.0";
pub(super) const DEST_VERSION: &str = "2.0.0";

/// Devices that prove the package; they are not in the list.
const VERIFY_DEVICES: u32 = 2;

const CONNECT_RATE: u32 = 2_000;
const CONNECT_PATIENCE: Duration = Duration::from_secs(120);
const VERIFY_PATIENCE: Duration = Duration::from_secs(60);

/// The devices that will be on the stage.
pub(super) struct Cast {
    pub(super) online: Vec<Identity>,
    pub(super) verify: Vec<Identity>,
}

pub(super) async fn product(remote: &Remote) -> anyhow::Result<String> {
    let request = CreateProductRequest {
        product_name: "demo_sensor".to_owned(),
        node_type: NodeType::Device.into(),
        ..CreateProductRequest::default()
    };
    Ok(answer(remote.devices().create_product(request)).await?.product_key)
}

/// Registers all devices, and keeps the secrets of those that will connect.
pub(super) async fn register(
    remote: &Remote,
    product_key: &str,
    world: &World,
    stage: &Stage,
) -> anyhow::Result<Cast> {
    let step = stage.begin_over(u64::from(world.devices), "registering");
    let mut cast = Cast { online: Vec::with_capacity(world.online.len()), verify: Vec::new() };
    let names =
        (0..world.devices).map(World::name).chain((0..VERIFY_DEVICES).map(|n| format!("verify-{n:02}")));
    let mut number = 0;
    let keep = |batch: Vec<crate::remote::Registered>| {
        step.bar.inc(u64::try_from(batch.len())?);
        for registered in batch {
            let device =
                registered.map_err(|error| anyhow::anyhow!("{}: {}", error.device_name, error.message))?;
            let identity = |temper| Identity {
                name: device.device_name.as_str().into(),
                secret: device.device_secret.as_str().into(),
                temper,
            };
            if number >= world.devices {
                cast.verify.push(identity(Temper::Good));
            } else if let Some(temper) = world.online.get(&number) {
                cast.online.push(identity(*temper));
            }
            number += 1;
        }
        Ok(())
    };
    remote.register(product_key, names, keep).await.context("registering")?;
    step.done(&format!("{} devices are registered", HumanCount(u64::from(world.devices))));
    Ok(cast)
}

/// Uploads the package and makes a firmware of it that needs to be verified.
pub(super) async fn firmware(
    remote: &Remote,
    product_key: &str,
    world: &World,
    stage: &Stage,
) -> anyhow::Result<String> {
    let step = stage.begin("uploading the package");
    let size_bytes = i64::try_from(world.package.len())?;
    let header =
        UploadFirmwareFileHeader { size_bytes: Some(size_bytes), ..UploadFirmwareFileHeader::default() };
    let uploaded = remote.upload_firmware(header, Cursor::new(world.package.clone()), |_| ()).await?;
    let request = CreateOtaFirmwareRequest {
        firmware_name: "demo-2_0_0".to_owned(),
        dest_version: DEST_VERSION.to_owned(),
        firmware_url: Some(uploaded.firmware_url),
        product_key: product_key.to_owned(),
        sign_method: Some("SHA256".to_owned()),
        need_to_verify: Some(true),
        ..CreateOtaFirmwareRequest::default()
    };
    let firmware = answer(remote.firmware().create_ota_firmware(request)).await?;
    step.done(&format!("firmware {DEST_VERSION} is made, {} KiB", size_bytes / 1024));
    Ok(firmware.firmware_id)
}

/// What the devices of a demo do.
pub(super) fn plan(server: &Server, product_key: &str, seed: u64) -> Plan {
    Plan {
        product_key: product_key.to_owned(),
        mqtt: vec![server.ready.mqtt.clone()],
        tls_ca: None,
        connect_rate: CONNECT_RATE,
        download: Mode::Full,
        kit: None,
        subscribe: false,
        work_ms: 0,
        version: SRC_VERSION.to_owned(),
        seed,
        events: Events::default(),
    }
}

/// Proves the package on devices of its own.
pub(super) async fn verify(
    remote: &Remote,
    server: &Server,
    product_key: &str,
    firmware_id: &str,
    devices: &[Identity],
    seed: u64,
    stage: &Stage,
) -> anyhow::Result<()> {
    let step = stage.begin("verifying the package");
    let fleet = Fleet::start(plan(server, product_key, seed), devices.to_vec())?;
    if fleet.connected(CONNECT_PATIENCE, |_| ()).await < devices.len() {
        bail!("the verify devices cannot connect: {:?}", fleet.recorder().troubles());
    }
    let request = CreateOtaVerifyJobRequest {
        firmware_id: firmware_id.to_owned(),
        product_key: product_key.to_owned(),
        target_device_name: devices.iter().map(|device| device.name.to_string()).collect(),
        ..CreateOtaVerifyJobRequest::default()
    };
    let job = answer(remote.jobs().create_ota_verify_job(request)).await?;

    let waiting = Stopwatch::start();
    loop {
        let request = QueryOtaFirmwareRequest { firmware_id: firmware_id.to_owned() };
        let found = answer(remote.firmware().query_ota_firmware(request)).await?;
        match found.firmware_info.unwrap_or_default().status() {
            FirmwareStatus::Verified => break,
            FirmwareStatus::VerificationFailed => {
                bail!("verify job {} failed: {:?}", job.job_id, fleet.recorder().troubles())
            }
            status if waiting.elapsed() > VERIFY_PATIENCE => {
                let troubles = fleet.recorder().troubles();
                bail!("verify job {} does not end, firmware is {status:?}: {troubles:?}", job.job_id)
            }
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    step.done(&format!("the package is verified on {} devices", devices.len()));
    Ok(())
}

/// Waits until all devices are connected.
pub(super) async fn connect(fleet: &Fleet, stage: &Stage) -> anyhow::Result<()> {
    let total = fleet.recorder().len();
    let step = stage.begin_over(u64::try_from(total)?, "connecting");
    let told = |connected: usize| step.bar.set_position(u64::try_from(connected).unwrap_or(0));
    let connected = fleet.connected(CONNECT_PATIENCE, told).await;
    if connected < total {
        bail!("only {connected} of {total} devices could connect: {:?}", fleet.recorder().troubles());
    }
    step.done(&format!("{} devices are online", HumanCount(u64::try_from(total)?)));
    Ok(())
}

/// Uploads the list of all names.
pub(super) async fn list(remote: &Remote, world: &World, stage: &Stage) -> anyhow::Result<String> {
    let step = stage.begin("uploading the device list");
    let list = world.list();
    let uploaded = remote.upload_list(u64::try_from(list.len())?, Cursor::new(list), |_| ()).await?;
    if uploaded.line_count != i64::from(world.devices) {
        bail!("the server counts {} lines in a list of {}", uploaded.line_count, world.devices);
    }
    step.done(&format!("the list of {} names is uploaded", HumanCount(u64::from(world.devices))));
    Ok(uploaded.file_url)
}
