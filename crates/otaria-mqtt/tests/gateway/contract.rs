//! The contract of the `Pusher` port, with real sockets behind it.

use std::collections::HashMap;

use async_trait::async_trait;
use otaria_core::ids::DeviceId;
use otaria_core::time::Timestamp;
use otaria_ports::clock::Clock;
use otaria_ports::pusher::contract::{self, Stage};
use otaria_ports::pusher::{Pusher, Settled};
use tokio::sync::Mutex;

use crate::client::Client;
use crate::world::{HostClock, QUIET, World, device};

struct Sockets {
    world: World,
    clients: Mutex<HashMap<DeviceId, Client>>,
}

impl Sockets {
    fn start() -> Self {
        Self { world: World::start(), clients: Mutex::default() }
    }
}

#[async_trait]
impl Stage for Sockets {
    fn pusher(&self) -> &dyn Pusher {
        self.world.pusher.as_ref()
    }

    fn now(&self) -> Timestamp {
        HostClock.now()
    }

    fn device(&self, n: i64) -> DeviceId {
        device(n)
    }

    async fn connect(&self, device: DeviceId) -> i64 {
        let client = Client::device(self.world.plain, device.n()).await;
        self.clients.lock().await.insert(device, client);
        self.world.session(device.n()).await.unwrap()
    }

    async fn outcomes(&self, count: usize) -> Vec<Settled> {
        self.world.outcomes(count).await;
        tokio::time::sleep(QUIET).await;
        self.world.inbox.outcomes.lock().unwrap().clone()
    }

    async fn read(&self, device: DeviceId, count: usize) -> Vec<i64> {
        let mut clients = self.clients.lock().await;
        let client = clients.get_mut(&device).unwrap();
        let mut ids = Vec::new();
        while ids.len() < count {
            let json = client.json().await;
            ids.push(json["id"].as_i64().unwrap());
        }
        assert!(client.is_quiet().await, "more than {ids:?}");
        ids
    }
}

macro_rules! kept {
    ($($name:ident),+ $(,)?) => {$(
        #[tokio::test]
        async fn $name() {
            contract::$name(&Sockets::start()).await;
        }
    )+};
}

kept! {
    a_notice_reaches_its_device_once_and_is_said_to_be_written,
    a_notice_for_nobody_is_gone_and_one_for_an_earlier_session_is_stale,
    a_late_notice_is_stale,
    behind_a_fence_nothing_older_is_written,
    behind_an_epoch_nothing_older_is_written,
    who_is_closed_is_not_written_to,
}
