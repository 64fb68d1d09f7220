//! Every sentence of the contract, each on a fresh file.

use std::sync::Arc;

use otaria_ports::events::KeptEvents;
use otaria_ports::store::contract::Case;
use otaria_store::{SqliteOptions, SqliteStore};

use crate::file::block_on;

fn run(case: Case) {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let events = Arc::new(KeptEvents::default());
        let path = folder.path().join("otaria.db");
        let store = SqliteStore::open(&path, SqliteOptions::default(), events.clone()).await.unwrap();
        case(&store, &events).await;
        store.close().await;
    });
}

otaria_ports::store_contract!(run);
