//! A face with the API on a free port, and the small things that most tests need.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use otaria_core::ids::{AccessKeyId, AccountNo, DEFAULT_ACCOUNT};
use otaria_core::link::LinkKey;
use otaria_core::rules::Limits;
use otaria_core::time::Timestamp;
use otaria_core::vault::Vault;
use otaria_engine::{Commands, Deps, Shell};
use otaria_openapi::{ApiParts, FaceParts, HttpFace, StorePackages, StoreRejects, serve};
use otaria_ports::bell::Bell;
use otaria_ports::bus::LocalBus;
use otaria_ports::clock::ManualClock;
use otaria_ports::events::NoEvents;
use otaria_ports::ids::CountingIds;
use otaria_ports::objects::MemoryObjects;
use otaria_ports::pace::LocalPace;
use otaria_ports::presence::LocalPresence;
use otaria_ports::pusher::KeptPusher;
use otaria_ports::quotas::{NoQuotas, Quotas};
use otaria_ports::store::memory::MemoryStore;
use otaria_ports::store::{AccessKey, Accounts, Role};
use tokio::net::TcpListener;

use crate::client::{Answer, Key, query, send, signed};

/// 2026-11-21T08:00:00Z.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_795_248_000_000);
pub(crate) const NOW_TEXT: &str = "2026-11-21T08:00:00Z";
/// The key of the recorded requests.
pub(crate) const ADMIN: Key<'static> = Key("testak", "testsk");

pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) shell: Arc<Shell>,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) objects: Arc<MemoryObjects>,
    vault: Vault,
}

/// What a test may want otherwise.
pub(crate) struct Wanted {
    pub(crate) limits: Limits,
    pub(crate) quotas: Arc<dyn Quotas>,
    pub(crate) instance_id: Option<String>,
    /// Where facts are: a second world on the same store is the same server started again.
    pub(crate) store: Arc<MemoryStore>,
}

impl Default for Wanted {
    fn default() -> Self {
        let store = Arc::new(MemoryStore::new(Arc::new(NoEvents)));
        Self { limits: Limits::default(), quotas: Arc::new(NoQuotas), instance_id: None, store }
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Wanted::default()).await
    }

    pub(crate) async fn with(wanted: Wanted) -> Self {
        let Wanted { limits, quotas, instance_id, store } = wanted;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let clock = Arc::new(ManualClock::at(NOW));
        let objects = Arc::new(MemoryObjects::default());
        let vault = Vault::new(&[7; 32]);
        let link_key = LinkKey::new([8; 32]);
        let shell = Shell::new(Deps {
            store: Arc::clone(&store) as _,
            objects: Arc::clone(&objects) as _,
            presence: Arc::new(LocalPresence::new(1, Arc::default())),
            pusher: Arc::new(KeptPusher::default()),
            pace: Arc::new(LocalPace::new(Duration::from_secs(2))),
            bus: Arc::new(LocalBus::new(Arc::new(Bell::default()))),
            ids: Arc::new(CountingIds::default()),
            vault: vault.clone(),
            link_key: link_key.clone(),
            download_base: format!("http://{address}").into(),
            limits,
        });
        let face = HttpFace::new(FaceParts {
            clock: Arc::clone(&clock) as _,
            link_key,
            packages: Arc::new(StorePackages(Arc::clone(&store))),
            rejects: Arc::new(StoreRejects(Arc::clone(&store))),
            objects: Arc::clone(&objects) as _,
            ready: Arc::new(|| Box::pin(async { Vec::new() })),
            metrics: Arc::new(String::new),
            grpc: String::new(),
            api: Some(ApiParts {
                commands: Commands::new(Arc::clone(&shell)),
                nonces: Arc::clone(&store) as _,
                quotas,
                instance_id,
            }),
        });
        tokio::spawn(serve(listener, face, None, otaria_openapi::Limits::default(), std::future::pending()));
        let world = Self { address, clock, shell, store, objects, vault };
        // There already when the store is not new.
        world.key(ADMIN, DEFAULT_ACCOUNT, Role::Admin, true).await;
        world
    }

    /// Makes a key; one that exists stays as it is.
    pub(crate) async fn key(&self, Key(id, secret): Key<'_>, account: AccountNo, role: Role, active: bool) {
        let sealed_secret = self.vault.seal([1; 12], &format!("access-key/{id}"), secret.as_bytes());
        let id = AccessKeyId::parse(id).unwrap();
        let key = AccessKey { id, account, role, active, sealed_secret, created_at: NOW };
        let _ = self.store.put_access_key(&key).await;
    }

    /// A call of an admin, as most SDKs make it: POST, everything in the query.
    pub(crate) async fn call(&self, action: &str, params: &[(&str, &str)]) -> Answer {
        self.call_as(ADMIN, action, params).await
    }

    pub(crate) async fn call_as(&self, key: Key<'_>, action: &str, params: &[(&str, &str)]) -> Answer {
        let query = query(&signed(key, "POST", NOW_TEXT, action, params));
        self.send(&format!("POST /?{query} HTTP/1.1\r\nHost: otaria:8080\r\nContent-Length: 0\r\n\r\n")).await
    }

    pub(crate) async fn send(&self, request: &str) -> Answer {
        send(self.address, request.as_bytes()).await
    }

    /// The key of a new product.
    pub(crate) async fn product(&self, name: &str) -> String {
        let answer = self.call("CreateProduct", &[("ProductName", name), ("NodeType", "0")]).await.ok();
        answer["ProductKey"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn device(&self, product: &str, name: &str) {
        self.call("RegisterDevice", &[("ProductKey", product), ("DeviceName", name)]).await.ok();
    }

    /// The id of a new firmware of a file that was uploaded.
    pub(crate) async fn firmware(&self, product: &str, name: &str, more: &[(&str, &str)]) -> String {
        let url = self.uploaded(&[], b"package").await;
        let params =
            [("ProductKey", product), ("FirmwareName", name), ("DestVersion", "2.0"), ("FirmwareUrl", &url)];
        let answer = self.call("CreateOTAFirmware", &[&params[..], more].concat()).await.ok();
        answer["Data"]["FirmwareId"].as_str().unwrap().to_owned()
    }
}
