//! Who is connected to this gateway.
//!
//! Keep-alives are looked after by walking a few of the map's pieces at each tick, so that a silent device
//! is found within four seconds of its time. A timing wheel would find it sooner, but would hold every
//! session a second time and keep the memory of those that left until their slot comes round.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use otaria_core::door::Arrival;
use otaria_core::ids::DeviceId;
use parking_lot::{Mutex, RwLock};

use crate::meters::CloseReason;
use crate::session::Session;
use crate::wire::Farewell;

const PIECES: usize = 64;
/// Pieces looked at in one tick: all of them in sixteen ticks, that is four seconds.
const PIECES_PER_TICK: usize = 4;

type Piece = HashMap<DeviceId, Arc<Session>>;

/// Sessions by device, and the devices that are just logging in.
#[derive(Default)]
pub(crate) struct Registry {
    pieces: Pieces,
    arriving: Mutex<HashMap<DeviceId, u32>>,
    ticks: AtomicU32,
}

struct Pieces(Box<[RwLock<Piece>]>);

impl Default for Pieces {
    fn default() -> Self {
        Self((0..PIECES).map(|_| RwLock::default()).collect())
    }
}

impl Pieces {
    fn of(&self, device: DeviceId) -> &RwLock<Piece> {
        // The low bits count registrations: they spread better than any hash.
        &self.0[usize::try_from(device.n()).unwrap_or(0) % PIECES]
    }
}

/// A device between its proof and its place in the registry.
pub(crate) struct Arriving<'a> {
    registry: &'a Registry,
    device: DeviceId,
}

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        let mut arriving = self.registry.arriving.lock();
        if let Some(count) = arriving.get_mut(&self.device) {
            *count -= 1;
            if *count == 0 {
                arriving.remove(&self.device);
            }
        }
    }
}

impl Registry {
    /// The present tick.
    pub(crate) fn tick(&self) -> u32 {
        self.ticks.load(Ordering::Relaxed)
    }

    /// Marks a device as logging in. Its presence is told before its session is here, so a notice may
    /// overtake it; such a notice waits as long as the mark stands.
    pub(crate) fn arriving(&self, device: DeviceId) -> Arriving<'_> {
        *self.arriving.lock().entry(device).or_insert(0) += 1;
        Arriving { registry: self, device }
    }

    pub(crate) fn is_arriving(&self, device: DeviceId) -> bool {
        self.arriving.lock().contains_key(&device)
    }

    pub(crate) fn get(&self, device: DeviceId) -> Option<Arc<Session>> {
        self.pieces.of(device).read().get(&device).cloned()
    }

    /// Puts a session in its place; `false` when a later one of the device is there already.
    pub(crate) fn enter(&self, session: &Arc<Session>) -> bool {
        let mut piece = self.pieces.of(session.device).write();
        let current = piece.get(&session.device).map(|current| current.seq);
        if Arrival::of(session.seq, current) == Arrival::Outdated {
            return false;
        }
        let older = piece.insert(session.device, Arc::clone(session));
        drop(piece);
        if let Some(older) = older {
            older.peer.close(CloseReason::TakenOver, Farewell::TakenOver);
        }
        true
    }

    /// Takes a session out, if it is still the device's own.
    pub(crate) fn leave(&self, session: &Session) {
        let mut piece = self.pieces.of(session.device).write();
        if piece.get(&session.device).is_some_and(|current| current.seq == session.seq) {
            piece.remove(&session.device);
        }
    }

    /// Moves the clock on by one tick and closes sessions that were silent for too long.
    pub(crate) fn pass_tick(&self) {
        let tick = self.ticks.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let first = tick as usize * PIECES_PER_TICK;
        for piece in (first..first + PIECES_PER_TICK).map(|n| &self.pieces.0[n % PIECES]) {
            let silent: Vec<_> =
                piece.read().values().filter(|session| session.peer.is_silent(tick)).cloned().collect();
            for session in silent {
                session.peer.close(CloseReason::KeepAlive, Farewell::KeepAliveTimeout);
            }
        }
    }

    /// Closes everybody.
    pub(crate) fn close_all(&self) {
        for piece in &self.pieces.0 {
            let all: Vec<_> = piece.read().values().cloned().collect();
            for session in all {
                session.peer.close(CloseReason::Shutdown, Farewell::ShuttingDown);
            }
        }
    }
}
