//! The gateway's end of the way of notices: hears what dispatchers and faces say, and hands it to the local
//! pusher.
//!
//! Never decides whether a notice may be written: the local pusher looks at clock and fences right before the
//! write. Outcomes do not go back this way; the gateway's own `Inbox` takes them to the store.

use std::collections::VecDeque;
use std::sync::Arc;

use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::shard::Shard;
use otaria_ports::Unavailable;
use otaria_ports::pusher::{Notice, Offer, Pusher};
use tokio::sync::mpsc;

use crate::hub::{Heard, Hub};
use crate::link::{RedisLink, WeakLink};
use crate::presence::RedisPresence;
use crate::wire::{self, Closed, Mail};

/// Offers kept to be shared by batches: as many jobs push at the same time to one gateway.
const OFFERS: usize = 64;

/// See the module.
#[derive(Debug)]
pub struct GatewayMail;

impl GatewayMail {
    /// Hears from when this returns, until the link ends. To be called before
    /// [`RedisPresence::begin_gateway`].
    pub async fn start(link: &RedisLink, hub: &Hub, presence: Arc<RedisPresence>, local: Arc<dyn Pusher>) {
        let own = hub.listen(link.keys().to_gateway(link.process())).await;
        let all = hub.listen(link.keys().to_gateways()).await;
        let postman = Postman { link: link.downgrade(), presence, local, offers: VecDeque::new() };
        tokio::spawn(postman.run(own, all));
    }
}

struct Postman {
    link: WeakLink,
    presence: Arc<RedisPresence>,
    local: Arc<dyn Pusher>,
    offers: VecDeque<Arc<Offer>>,
}

/// What was heard, if it can be read.
fn open(heard: Heard) -> Option<Mail> {
    match heard {
        Heard::Message(bytes) => wire::unpack(&bytes),
        // A lost notice is delivered again by its deadline, and a lost fence or close was waited for.
        Heard::Gap => None,
    }
}

fn told(result: Result<(), Unavailable>) {
    if let Err(error) = result {
        tracing::warn!(%error, "the gateway did not take its mail");
    }
}

impl Postman {
    /// Orders to all gateways come first: what one process told in this order is taken in it, a fence before
    /// the notices that were sent after it. And they never wait for notices that the local pusher is slow to
    /// take.
    async fn run(mut self, mut own: mpsc::Receiver<Heard>, mut all: mpsc::Receiver<Heard>) {
        loop {
            let mail = tokio::select! {
                biased;
                heard = all.recv() => heard.map(open),
                heard = own.recv() => heard.map(open),
            };
            match mail {
                None => return,
                Some(None) => {}
                Some(Some(Mail::Notices { offers, notices, terms })) => {
                    let mut notices = wire::read_notices(offers, notices, &terms);
                    metrics::counter!("otaria_redis_notices_heard_total").increment(notices.len() as u64);
                    self.share_offers(&mut notices);
                    let mut sending = self.local.send(notices);
                    loop {
                        tokio::select! {
                            biased;
                            Some(heard) = all.recv() => {
                                if let Some(order) = open(heard) {
                                    told(self.obey(order).await);
                                }
                            }
                            sent = &mut sending => break told(sent),
                        }
                    }
                }
                Some(Some(order)) => told(self.obey(order).await),
            }
        }
    }

    async fn obey(&self, order: Mail) -> Result<(), Unavailable> {
        match order {
            Mail::Notices { offers, notices, terms } => {
                self.local.send(wire::read_notices(offers, notices, &terms)).await
            }
            Mail::Fence { job, fence } => self.local.fence(JobNo(job), fence).await,
            Mail::Epoch { shard, epoch } => self.local.epoch(Shard(shard), epoch).await,
            Mail::Close { device, ask, from } => {
                self.local.close(DeviceId(device)).await?;
                let Some(link) = self.link.upgrade() else { return Ok(()) };
                let closed = wire::pack(&Closed { ask, gateway: link.process().to_owned() });
                link.publish(&link.keys().answers(&from), &closed, "answering a close").await.map(drop)
            }
            Mail::Outdated { device, session } => {
                // The device may have come back here in a later session.
                if self.presence.is_ours(DeviceId(device), session) {
                    self.local.close(DeviceId(device)).await?;
                }
                Ok(())
            }
        }
    }

    /// Puts equal offers of earlier batches in the place of these: the local pusher writes an offer's text
    /// once for as long as it is the same.
    fn share_offers(&mut self, notices: &mut [Notice]) {
        for notice in notices {
            if self.offers.iter().any(|known| Arc::ptr_eq(known, &notice.offer)) {
                continue;
            }
            match self.offers.iter().find(|known| **known == notice.offer) {
                Some(known) => notice.offer = Arc::clone(known),
                None => {
                    self.offers.truncate(OFFERS - 1);
                    self.offers.push_front(Arc::clone(&notice.offer));
                }
            }
        }
    }
}
