//! Who is connected to this gateway.
//!
//! Keep-alives are looked after by walking a few of the map's pieces at each tick, so that a silent device
//! is found within four seconds of its time. A timing wheel would find it sooner, but would hold every
//! session a second time and keep the memory of those that left until their slot comes round.

use std::collections::{HashMap, VecDeque};
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

/// Devices whose connections were ended last; a login takes far less time than so many of them.
const EXPELLED_KEPT: usize = 1_024;

/// Sessions by device, and the devices that are just logging in.
#[derive(Default)]
pub(crate) struct Registry {
    pieces: Pieces,
    arriving: Mutex<HashMap<DeviceId, u32>>,
    expelled: Mutex<Expelled>,
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

/// Whose connections were ended from inside, and how many there ever were.
#[derive(Default)]
struct Expelled {
    count: u64,
    last: VecDeque<DeviceId>,
}

/// A moment before a device's credentials are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Before(u64);

impl Registry {
    /// Ends a device's connection. Noted first: a login that proved itself on what was before finds the note
    /// before its session takes its place, and a session that is there already is found here.
    pub(crate) fn expel(&self, device: DeviceId) {
        let mut expelled = self.expelled.lock();
        expelled.count += 1;
        expelled.last.push_back(device);
        if expelled.last.len() > EXPELLED_KEPT {
            expelled.last.pop_front();
        }
        drop(expelled);
        if let Some(session) = self.get(device) {
            session.peer.close(CloseReason::Expelled, Farewell::Expelled);
        }
    }

    /// To be asked before credentials are looked up.
    pub(crate) fn before(&self) -> Before {
        Before(self.expelled.lock().count)
    }

    /// Whether a device's connection may have been ended since then.
    fn was_expelled(&self, device: DeviceId, since: Before) -> bool {
        let expelled = self.expelled.lock();
        let later = usize::try_from(expelled.count - since.0).unwrap_or(usize::MAX);
        // Who cannot be told any more is sent away: it may come again.
        later > expelled.last.len() || expelled.last.iter().rev().take(later).any(|other| *other == device)
    }

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

    /// Puts a session in its place; `false` when a later one of the device is there already, or when what it
    /// proved itself by (`before`) may not hold any more.
    pub(crate) fn enter(&self, session: &Arc<Session>, before: Before) -> bool {
        let mut piece = self.pieces.of(session.device).write();
        if self.was_expelled(session.device, before) {
            return false;
        }
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

    /// Everybody, in an order that has nothing to do with shards or registration.
    pub(crate) fn shuffled(&self) -> Vec<Arc<Session>> {
        // Knuth's multiplicative hash. Devices that were registered one after the other end up far apart.
        let rank =
            |session: &Arc<Session>| session.device.0.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed());
        let pieces = self.pieces.0.iter();
        let mut all: Vec<_> =
            pieces.flat_map(|piece| piece.read().values().cloned().collect::<Vec<_>>()).collect();
        all.sort_by_cached_key(rank);
        all
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_learns_that_its_device_was_expelled_meanwhile() {
        let registry = Registry::default();
        registry.expel(DeviceId(1));
        let before = registry.before();
        assert!(!registry.was_expelled(DeviceId(1), before), "it proved itself after that");
        registry.expel(DeviceId(2));
        registry.expel(DeviceId(3));
        assert!(registry.was_expelled(DeviceId(2), before));
        assert!(!registry.was_expelled(DeviceId(1), before));
        for n in 0..1_024 {
            registry.expel(DeviceId(10 + n));
        }
        assert!(registry.was_expelled(DeviceId(1), before), "nobody knows any more");
        assert!(!registry.was_expelled(DeviceId(1), registry.before()));
    }
}
