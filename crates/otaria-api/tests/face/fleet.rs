//! Devices with a firmware, and a job for them.

use std::time::Duration;

use otaria_engine::closer::Closer;
use otaria_engine::ownership::Owner;
use otaria_proto::v1::{self, TargetSelection};

use crate::world::{Caller, START, World, firmware, product, register};

/// A product with devices `dev-000`… and a firmware.
pub(crate) struct Fleet {
    pub(crate) product_key: String,
    pub(crate) firmware_id: String,
}

pub(crate) async fn fleet(caller: &Caller, devices: usize) -> Fleet {
    let product_key = product(caller, "lamp").await;
    register(caller, &product_key, (0..devices).map(|n| format!("dev-{n:03}"))).await;
    let firmware_id = firmware(caller, &product_key, "fw1").await;
    Fleet { product_key, firmware_id }
}

impl Fleet {
    pub(crate) fn all(&self) -> v1::CreateOtaStaticUpgradeJobRequest {
        v1::CreateOtaStaticUpgradeJobRequest {
            firmware_id: self.firmware_id.clone(),
            product_key: self.product_key.clone(),
            target_selection: TargetSelection::All.into(),
            ..Default::default()
        }
    }
}

pub(crate) async fn create(caller: &Caller, request: v1::CreateOtaStaticUpgradeJobRequest) -> String {
    caller.jobs().create_ota_static_upgrade_job(request).await.unwrap().into_inner().job_id
}

pub(crate) async fn query(caller: &Caller, job_id: &str) -> v1::QueryOtaJobResponse {
    let request = v1::QueryOtaJobRequest { job_id: job_id.into() };
    caller.jobs().query_ota_job(request).await.unwrap().into_inner()
}

pub(crate) fn tasks_of(job_id: &str) -> v1::ListOtaTaskByJobRequest {
    v1::ListOtaTaskByJobRequest { job_id: job_id.into(), ..Default::default() }
}

pub(crate) async fn close(world: &World) {
    let ttl = Duration::from_secs(15);
    let member = world.shell.deps.store.join(START, ttl).await.unwrap();
    let owner = Owner::begin(world.shell.clone(), member, ttl, true, START).await.unwrap();
    let mut closer = Closer::new(world.shell.clone());
    for _ in 0..10 {
        closer.tick(START, owner.owned()).await.unwrap();
    }
}
