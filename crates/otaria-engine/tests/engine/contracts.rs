//! What stands in for the world here keeps the contracts of its ports, and so does the engine's own side.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use otaria_core::ids::{DeviceId, ModuleName};
use otaria_core::rules::StaticUpgradeParams;
use otaria_core::shard::Shard;
use otaria_core::task::{Report, TaskStatus};
use otaria_core::time::Timestamp;
use otaria_engine::shell::Shell;
use otaria_engine::{CommandError, inbox, streams};
use otaria_ports::Unavailable;
use otaria_ports::inbox::contract::Offered;
use otaria_ports::inbox::{Block, BlockAsked, Fetched, Inbox, NoBlock};
use otaria_ports::pusher::contract::{self, Stage};
use otaria_ports::pusher::{Pusher, Settled};

use crate::fleet::Temper;
use crate::gateway::{Gateway, Wrote};
use crate::process::run;
use crate::world::{World, text};

/// A gateway that only pretends, with its clock standing still.
#[derive(Default)]
struct Pretended {
    gateway: Gateway,
    wrote: Mutex<Vec<Wrote>>,
    settled: Mutex<Vec<Settled>>,
}

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

#[async_trait]
impl Stage for Pretended {
    fn pusher(&self) -> &dyn Pusher {
        &self.gateway
    }

    fn now(&self) -> Timestamp {
        NOW
    }

    fn device(&self, n: i64) -> DeviceId {
        DeviceId::new(Shard(3), n)
    }

    async fn connect(&self, device: DeviceId) -> i64 {
        self.gateway.enter(device, 100);
        100
    }

    async fn outcomes(&self, _: usize) -> Vec<Settled> {
        let (wrote, settled) = self.gateway.deliver(NOW, |_| false);
        self.wrote.lock().unwrap().extend(wrote);
        let mut all = self.settled.lock().unwrap();
        all.extend(settled);
        all.clone()
    }

    async fn read(&self, device: DeviceId, _: usize) -> Vec<i64> {
        let mut wrote = self.wrote.lock().unwrap();
        let (read, other) = wrote.drain(..).partition(|wrote| wrote.device == device);
        *wrote = other;
        read.into_iter().map(|wrote: Wrote| wrote.wire_id).collect()
    }
}

#[test]
fn the_pretended_gateway_keeps_the_contract_of_pushers() {
    let stage = Pretended::default;
    run(contract::a_notice_reaches_its_device_once_and_is_said_to_be_written(&stage()));
    run(contract::a_notice_for_nobody_is_gone_and_one_for_an_earlier_session_is_stale(&stage()));
    run(contract::a_late_notice_is_stale(&stage()));
    run(contract::behind_a_fence_nothing_older_is_written(&stage()));
    run(contract::behind_an_epoch_nothing_older_is_written(&stage()));
    run(contract::who_is_closed_is_not_written_to(&stage()));
}

/// The engine as gateways see it, without the queue that the server puts before it.
struct Direct {
    shell: Arc<Shell>,
    now: Timestamp,
}

fn unavailable(error: CommandError) -> Unavailable {
    Unavailable { doing: "asking the engine", source: Some(Box::new(error)) }
}

#[async_trait]
impl Inbox for Direct {
    async fn report(&self, report: Report) -> Result<(), Unavailable> {
        inbox::take(&self.shell, vec![report], self.now).await.map_err(unavailable)
    }

    async fn fetch(
        &self,
        device: DeviceId,
        module: ModuleName,
        now: Timestamp,
    ) -> Result<Option<Fetched>, Unavailable> {
        inbox::fetch(&self.shell, device, &module, now).await.map_err(unavailable)
    }

    async fn block(
        &self,
        device: DeviceId,
        asked: BlockAsked,
        now: Timestamp,
    ) -> Result<Result<Block, NoBlock>, Unavailable> {
        streams::block(&self.shell, device, asked, now).await.map_err(unavailable)
    }

    async fn settled(&self, outcomes: Vec<Settled>) -> Result<(), Unavailable> {
        inbox::settle(&self.shell, &outcomes, self.now).await.map_err(unavailable)
    }
}

#[test]
fn the_engine_keeps_the_contract_of_inboxes() {
    let mut world = World::new(96);
    let devices = world.devices(1, Temper::Silent);
    world.connect(&devices);
    let mut params: StaticUpgradeParams = world.specific(&devices);
    params.job.download_protocol = text("MQTT");
    let job = world.create(&params);
    world.run_until("the notice", std::time::Duration::from_secs(5), |world| {
        world.count(job, TaskStatus::Notified) == 1
    });

    let (device, now) = (devices[0], world.now);
    let direct = Direct { shell: Arc::clone(&world.process.shell), now };
    let module = ModuleName::default_module();
    let stream_id = run(direct.fetch(device, module, now)).unwrap().unwrap().offer.stream_id.unwrap();
    let offered = Offered { device, stream_id, file: b"package", now };
    run(otaria_ports::inbox::contract::blocks_are_the_file(&direct, offered));
    run(otaria_ports::inbox::contract::odd_blocks_are_refused(&direct, offered));
    let key = world.task(job, device).unwrap().key;
    run(otaria_ports::inbox::contract::repeats_and_strange_words_are_taken(&direct, key, now));
    assert_eq!(world.count(job, TaskStatus::Notified), 1, "nothing moved");
}
