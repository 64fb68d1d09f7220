//! What only a file can do: come back.

use std::sync::Arc;

use otaria_core::time::Timestamp;
use otaria_ports::events::NoEvents;
use otaria_ports::nonces::Nonces;
use otaria_store::{SqliteOptions, SqliteStore};

#[tokio::test]
async fn a_used_nonce_is_known_to_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("otaria.db");
    let at = Timestamp::from_millis;
    for (now, is_fresh) in [(0, true), (99, false), (100, true)] {
        let store = SqliteStore::open(&path, SqliteOptions::default(), Arc::new(NoEvents)).await.unwrap();
        let used = store.use_once("key", "nonce", at(now), at(now + 100)).await.unwrap();
        assert_eq!(used, is_fresh, "{now}");
        store.close().await;
    }
}
