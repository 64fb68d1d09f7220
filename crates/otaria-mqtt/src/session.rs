//! One connected device.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use mqtt_proto::TopicName;
use otaria_core::door::subscription::Delivery;
use otaria_core::door::{Downlink, Downlinks, Own, SessionSeq, Subscriptions};
use otaria_core::ids::{DeviceId, DeviceName, JobNo, ModuleName, ProductKey};
use parking_lot::Mutex;

use crate::link::{IfIdle, Link, SendError};
use crate::meters::CloseReason;
use crate::wire::{Farewell, Wire};

/// How often the gateway's clock ticks: the grain of keep-alives.
pub(crate) const TICK: Duration = Duration::from_millis(250);
const TICKS_PER_SECOND: u32 = 4;

/// A connected peer of either kind: its link, its protocol, and when it was last heard.
pub(crate) struct Peer {
    pub(crate) link: Arc<Link>,
    pub(crate) wire: Wire,
    heard_at: AtomicU32,
    silence_ticks: u32,
    closing: Mutex<Option<CloseReason>>,
}

impl Peer {
    /// `keep_alive` in seconds; 0 and what is above `max` count as `max`.
    pub(crate) fn new(link: Arc<Link>, wire: Wire, keep_alive: u16, max: Duration, tick: u32) -> Self {
        let max = u32::try_from(max.as_secs()).unwrap_or(u32::MAX);
        let seconds = if keep_alive == 0 { max } else { u32::from(keep_alive).min(max) };
        let silence_ticks = seconds.saturating_mul(TICKS_PER_SECOND).saturating_mul(3) / 2;
        Self { link, wire, heard_at: AtomicU32::new(tick), silence_ticks, closing: Mutex::new(None) }
    }

    /// Notes a sign of life.
    pub(crate) fn heard(&self, tick: u32) {
        self.heard_at.store(tick, Ordering::Relaxed);
    }

    /// Whether it was silent for too long.
    pub(crate) fn is_silent(&self, tick: u32) -> bool {
        tick.wrapping_sub(self.heard_at.load(Ordering::Relaxed)) > self.silence_ticks
    }

    /// Ends the connection from outside; the peer's own task sees the end and finds the reason.
    pub(crate) fn close(&self, reason: CloseReason, farewell: Farewell) {
        self.closing.lock().get_or_insert(reason);
        if let Some(bytes) = self.wire.farewell(farewell) {
            let _ = self.link.send(&bytes);
        }
        self.link.close();
    }

    /// Why it was ended from outside, else what its own task saw.
    pub(crate) fn close_reason(&self, seen: CloseReason) -> CloseReason {
        self.closing.lock().unwrap_or(seen)
    }
}

/// One connected device.
pub(crate) struct Session {
    pub(crate) device: DeviceId,
    pub(crate) seq: SessionSeq,
    pub(crate) peer: Peer,
    product_key: ProductKey,
    device_name: DeviceName,
    mutable: Mutex<Mutable>,
}

struct Mutable {
    subscriptions: Subscriptions,
    last_pkid: u16,
    told: Told,
}

/// The job that each module was told of last, of those that were told of any.
#[derive(Debug, Default)]
pub(crate) struct Told(Vec<(ModuleName, JobNo)>);

impl Told {
    /// A notice, or an answer, is about to be written; returns the job that the module was told of before.
    pub(crate) fn tell(&mut self, module: &ModuleName, job: JobNo) -> Option<JobNo> {
        if let Some((_, last)) = self.0.iter_mut().find(|(known, _)| known == module) {
            return Some(std::mem::replace(last, job));
        }
        // Most devices have one module.
        self.0.reserve_exact(1);
        self.0.push((module.clone(), job));
        None
    }

    /// It was not written.
    pub(crate) fn take_back(&mut self, module: &ModuleName, before: Option<JobNo>) {
        match before {
            Some(before) => drop(self.tell(module, before)),
            None => self.0.retain(|(known, _)| known != module),
        }
    }

    /// What a module was told of last.
    pub(crate) fn last(&self, module: &ModuleName) -> Option<JobNo> {
        self.0.iter().find(|(known, _)| known == module).map(|(_, job)| *job)
    }
}

/// What became of a message to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    Sent,
    Unsubscribed,
    Congested,
    Broken,
}

impl Session {
    pub(crate) fn new(
        device: DeviceId,
        seq: SessionSeq,
        peer: Peer,
        names: (ProductKey, DeviceName),
        subscriptions: Subscriptions,
    ) -> Self {
        let (product_key, device_name) = names;
        let mutable = Mutex::new(Mutable { subscriptions, last_pkid: 0, told: Told::default() });
        Self { device, seq, peer, product_key, device_name, mutable }
    }

    pub(crate) fn own(&self) -> Own<'_> {
        Own { product_key: self.product_key.as_str(), device_name: self.device_name.as_str() }
    }

    pub(crate) fn subscribe(&self, downlinks: Downlinks, delivery: Delivery) {
        self.mutable.lock().subscriptions.add(downlinks, delivery);
    }

    pub(crate) fn unsubscribe(&self, downlinks: Downlinks) {
        self.mutable.lock().subscriptions.remove(downlinks);
    }

    pub(crate) fn is_subscribed(&self, downlink: Downlink) -> bool {
        self.mutable.lock().subscriptions.delivery(downlink).is_some()
    }

    /// Sends a notice of a job, if the device asked for notices and nothing waits before it.
    pub(crate) fn notify(&self, payload: Bytes, module: &ModuleName, job: JobNo) -> Delivered {
        // Noted first: the device may answer before this returns.
        let before = self.mutable.lock().told.tell(module, job);
        let delivered = self.try_notify(payload);
        if delivered != Delivered::Sent {
            self.mutable.lock().told.take_back(module, before);
        }
        delivered
    }

    fn try_notify(&self, payload: Bytes) -> Delivered {
        let Some(packet) = self.packet(Downlink::Upgrade, payload) else { return Delivered::Unsubscribed };
        match self.peer.link.send_if_idle(&packet) {
            Ok(IfIdle::Sent) => Delivered::Sent,
            Ok(IfIdle::Congested) => Delivered::Congested,
            Err(SendError::Overrun | SendError::Broken) => Delivered::Broken,
        }
    }

    /// A module's question is about to be answered.
    pub(crate) fn tell(&self, module: &ModuleName, job: JobNo) {
        self.mutable.lock().told.tell(module, job);
    }

    /// The job that a module was told of last.
    pub(crate) fn told(&self, module: &ModuleName) -> Option<JobNo> {
        self.mutable.lock().told.last(module)
    }

    /// Sends an answer behind whatever waits, if the device asked for such answers.
    pub(crate) fn reply(&self, downlink: Downlink, payload: Bytes) -> Result<(), SendError> {
        match self.packet(downlink, payload) {
            Some(packet) => self.peer.link.send(&packet),
            None => Ok(()),
        }
    }

    /// Sends a large answer once nothing waits before it, and returns when the device has taken it or the
    /// link has failed. `waiting` is called about once a tick meanwhile.
    pub(crate) async fn hand_over(&self, downlink: Downlink, payload: Bytes, waiting: impl Fn()) {
        let Some(packet) = self.packet(downlink, payload) else { return };
        let link = &self.peer.link;
        loop {
            link.drained_patiently(TICK, &waiting).await;
            match link.send_if_idle(&packet) {
                // Something else was faster.
                Ok(IfIdle::Congested) => {}
                // A link that has failed ends its connection; its task sees that by itself.
                Ok(IfIdle::Sent) | Err(_) => break,
            }
        }
        link.drained_patiently(TICK, &waiting).await;
    }

    fn packet(&self, downlink: Downlink, payload: Bytes) -> Option<Vec<u8>> {
        let mut mutable = self.mutable.lock();
        let pkid = match mutable.subscriptions.delivery(downlink)? {
            Delivery::AtMostOnce => None,
            Delivery::AtLeastOnce => {
                mutable.last_pkid = mutable.last_pkid.checked_add(1).unwrap_or(1);
                Some(mutable.last_pkid)
            }
        };
        drop(mutable);
        // Product key and device name are plain: their topics hold no wildcard.
        let topic = TopicName::try_from(downlink.topic(self.own()).as_str()).ok()?;
        Some(self.peer.wire.publish(&topic, payload, pkid))
    }
}
