//! The embedded rumqttd router. None of its types leave this module but as [`FeedTx`] and [`FeedRx`].

use bytes::Bytes;
use rumqttd::local::{LinkBuilder, LinkError, LinkRx, LinkTx};
use rumqttd::protocol::{Disconnect, DisconnectReasonCode, Packet};
use rumqttd::{Notification, RouterConfig};

/// Links at most, the publisher's own among them.
const LINKS: usize = 512;
/// Platform clients at most, whatever is configured.
pub(crate) const CLIENTS_MAX: u32 = 500;
/// What the router keeps of a product for clients that are slow for a moment: 16 MiB, some ten thousands of
/// events. A client that falls behind further finds a hole in the numbers and is disconnected.
const SEGMENT_BYTES: usize = 1024 * 1024;
const SEGMENTS: usize = 16;
/// Messages given to a link at a time.
const BURST: u64 = 200;

/// The router is dead, or never answered.
#[derive(Debug, thiserror::Error)]
#[error("the event router is gone")]
pub(crate) struct RouterGone;

impl From<LinkError> for RouterGone {
    fn from(_: LinkError) -> Self {
        Self
    }
}

type Linker = dyn Fn(&str) -> Result<(LinkTx, LinkRx), RouterGone> + Send + Sync;

/// A router in a thread of its own.
///
/// Its sender's type has no public name, so two closures stand for it.
pub(crate) struct Router {
    link: Box<Linker>,
    is_dead: Box<dyn Fn() -> bool + Send + Sync>,
}

/// Into the router.
pub(crate) struct FeedTx(LinkTx);

/// Out of the router.
pub(crate) struct FeedRx(LinkRx);

/// What comes out of the router.
#[derive(Debug)]
pub(crate) enum FromRouter {
    /// A message.
    Message(Bytes),
    /// A subscription holds.
    Subscribed,
    /// The router wants to be told to go on.
    Pause,
    /// Nothing of interest.
    Other,
}

impl Router {
    /// Starts a router.
    pub(crate) fn start() -> Self {
        let config = RouterConfig {
            max_connections: LINKS,
            max_outgoing_packet_count: BURST,
            max_segment_size: SEGMENT_BYTES,
            max_segment_count: SEGMENTS,
            ..RouterConfig::default()
        };
        let sender = rumqttd::Router::new(0, config).spawn();
        let probe = sender.clone();
        Self {
            link: Box::new(move |name| {
                let (tx, rx, _) = LinkBuilder::new(name, sender.clone()).build()?;
                Ok((tx, rx))
            }),
            is_dead: Box::new(move || probe.is_disconnected()),
        }
    }

    pub(crate) fn is_dead(&self) -> bool {
        (self.is_dead)()
    }

    /// Links to the router. Blocks for a moment.
    pub(crate) fn link(&self, name: &str) -> Result<(FeedTx, FeedRx), RouterGone> {
        // A router that dies during the call makes the library unwrap nothing.
        let linked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (self.link)(name)));
        let (tx, rx) = linked.map_err(|_| RouterGone)??;
        Ok((FeedTx(tx), FeedRx(rx)))
    }
}

impl FeedTx {
    /// Publishes. Blocks while the router has too much to do.
    pub(crate) fn publish(&mut self, topic: &str, message: Vec<u8>) -> Result<(), RouterGone> {
        self.0.publish(Bytes::copy_from_slice(topic.as_bytes()), message)?;
        Ok(())
    }

    /// Subscribes; [`FromRouter::Subscribed`] comes when it holds. Blocks while the router has too much to
    /// do.
    pub(crate) fn subscribe(&mut self, topic: &str) -> Result<(), RouterGone> {
        self.0.subscribe(topic)?;
        Ok(())
    }

    /// Gives the link back; the router would keep it for ever. Blocks for a moment.
    pub(crate) fn leave(mut self) {
        let disconnect = Disconnect { reason_code: DisconnectReasonCode::NormalDisconnection };
        let leaving = self.0.send(Packet::Disconnect(disconnect, None));
        // It never really waits, and fails only when the router is dead.
        let mut leaving = std::pin::pin!(leaving);
        let _ = leaving.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    }
}

impl FeedRx {
    /// The next that comes out of the router. Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> Result<FromRouter, RouterGone> {
        let Some(notification) = self.0.next().await? else { return Ok(FromRouter::Other) };
        Ok(match notification {
            Notification::Forward(forward) => FromRouter::Message(forward.publish.payload),
            Notification::Unschedule => FromRouter::Pause,
            other => match Option::<Packet>::from(other) {
                Some(Packet::SubAck(..)) => FromRouter::Subscribed,
                _ => FromRouter::Other,
            },
        })
    }

    /// Lets the router go on after [`FromRouter::Pause`].
    pub(crate) async fn resume(&self) -> Result<(), RouterGone> {
        self.0.wake().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;
    use std::time::Duration;

    use super::*;

    async fn message(rx: &mut FeedRx) -> Bytes {
        loop {
            if let FromRouter::Message(bytes) = rx.next().await.unwrap() {
                return bytes;
            }
        }
    }

    #[tokio::test]
    async fn what_is_published_comes_out_of_a_link_in_order() {
        let router = Router::start();
        let (mut tx, mut rx) = router.link("reader").unwrap();
        tx.subscribe("events/a1").unwrap();
        while !matches!(rx.next().await.unwrap(), FromRouter::Subscribed) {}
        let (mut writer, _kept) = router.link("writer").unwrap();
        for n in 0..100_u8 {
            writer.publish("events/a1", vec![n]).unwrap();
            writer.publish("events/b2", vec![n]).unwrap();
        }
        for n in 0..100_u8 {
            assert_eq!(message(&mut rx).await, vec![n]);
        }
        tx.leave();
        while rx.next().await.is_ok() {}
    }

    #[tokio::test]
    async fn a_router_that_dies_is_replaced_and_its_links_end() {
        let shared = std::sync::Arc::new(super::super::Shared::new());
        let (_queue, events) = sync_channel(1);
        super::super::publisher::start(shared.clone(), events);
        let first = shared.router.read().clone();
        let (mut tx, mut rx) = first.link("reader").unwrap();
        tx.subscribe("events/a1").unwrap();
        while !matches!(rx.next().await.unwrap(), FromRouter::Subscribed) {}
        // The weakness for which devices do not sit on this router.
        tx.publish("ütopic", vec![1]).unwrap();
        while rx.next().await.is_ok() {}
        let replaced = async {
            while !first.is_dead() || shared.router.read().is_dead() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), replaced).await.unwrap();
        assert!(first.link("another").is_err());
        assert!(shared.router.read().link("reader").is_ok());
    }
}
