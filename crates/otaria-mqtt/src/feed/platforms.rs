//! The platform clients that are connected.

use std::collections::HashMap;
use std::sync::Arc;

use otaria_core::ids::AccountNo;
use parking_lot::Mutex;

use super::router::CLIENTS_MAX;
use super::{EventFeed, Shared};
use crate::meters::CloseReason;
use crate::session::Peer;
use crate::wire::Farewell;

type Name = (AccountNo, String);

/// Platform clients by account and client id.
pub(crate) struct Platforms {
    pub(super) shared: Arc<Shared>,
    clients: Mutex<HashMap<Name, Arc<Peer>>>,
    max: usize,
}

impl Platforms {
    pub(crate) fn new(feed: &EventFeed, max: u32) -> Self {
        let max = max.min(CLIENTS_MAX) as usize;
        Self { shared: Arc::clone(&feed.shared), clients: Mutex::default(), max }
    }

    /// Takes a client in; one of the same name is closed. `false` when there is no room.
    pub(super) fn enter(&self, name: Name, peer: &Arc<Peer>) -> bool {
        let mut clients = self.clients.lock();
        if clients.len() >= self.max && !clients.contains_key(&name) {
            return false;
        }
        let older = clients.insert(name, Arc::clone(peer));
        self.shared.meters.platform_clients.set(clients.len() as f64);
        drop(clients);
        if let Some(older) = older {
            older.close(CloseReason::TakenOver, Farewell::TakenOver);
        }
        true
    }

    /// Lets a client go, if it is still the one of its name.
    pub(super) fn leave(&self, name: &Name, peer: &Arc<Peer>) {
        let mut clients = self.clients.lock();
        if clients.get(name).is_some_and(|current| Arc::ptr_eq(current, peer)) {
            clients.remove(name);
        }
        self.shared.meters.platform_clients.set(clients.len() as f64);
    }

    /// Closes clients that were silent for too long.
    pub(crate) fn pass_tick(&self, tick: u32) {
        let clients = self.clients.lock();
        for peer in clients.values().filter(|peer| peer.is_silent(tick)) {
            peer.close(CloseReason::KeepAlive, Farewell::KeepAliveTimeout);
        }
    }

    /// Closes everybody.
    pub(crate) fn close_all(&self) {
        for peer in self.clients.lock().values() {
            peer.close(CloseReason::Shutdown, Farewell::ShuttingDown);
        }
    }
}
