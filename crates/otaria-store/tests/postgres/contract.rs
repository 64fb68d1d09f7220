//! Every sentence of the contract, each on a fresh database.

use std::sync::Arc;

use otaria_ports::events::KeptEvents;
use otaria_ports::store::contract::Case;

use crate::server::{block_on, with_database};

fn run(case: Case) {
    with_database(|database| {
        block_on(async {
            let events = Arc::new(KeptEvents::default());
            let store = database.open(events.clone()).await;
            case(&store, &events).await;
            store.close().await;
        });
    });
}

otaria_ports::store_contract!(run, ignore = "needs PostgreSQL: cargo xtask test runs it");
