use std::sync::Arc;

use futures_util::FutureExt;

use super::*;
use crate::events::KeptEvents;
use crate::store::contract::Case;

/// No call of this store ever waits.
fn run(case: Case) {
    let events = Arc::new(KeptEvents::default());
    let store = MemoryStore::new(events.clone());
    case(&store, &events).now_or_never().expect("the store in memory never waits");
}

mod contract {
    crate::store_contract!(super::run);
}
