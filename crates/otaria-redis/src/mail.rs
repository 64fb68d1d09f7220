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
        for heard in [own, all] {
            let postman = Postman {
                link: link.downgrade(),
                presence: Arc::clone(&presence),
                local: Arc::clone(&local),
                offers: VecDeque::new(),
            };
            tokio::spawn(postman.run(heard));
        }
    }
}

struct Postman {
    link: WeakLink,
    presence: Arc<RedisPresence>,
    local: Arc<dyn Pusher>,
    offers: VecDeque<Arc<Offer>>,
}

impl Postman {
    async fn run(mut self, mut heard: mpsc::Receiver<Heard>) {
        while let Some(heard) = heard.recv().await {
            let mail = match heard {
                Heard::Message(bytes) => wire::unpack::<Mail>(&bytes),
                // A lost notice is delivered again by its deadline, and a lost fence or close was waited for.
                Heard::Gap => None,
            };
            let Some(mail) = mail else { continue };
            if let Err(error) = self.hand_over(mail).await {
                tracing::warn!(error = %error, "the gateway did not take its mail");
            }
        }
    }

    async fn hand_over(&mut self, mail: Mail) -> Result<(), Unavailable> {
        match mail {
            Mail::Notices { offers, notices } => {
                let mut notices = wire::read_notices(offers, notices);
                metrics::counter!("otaria_redis_notices_heard_total").increment(notices.len() as u64);
                self.share_offers(&mut notices);
                self.local.send(notices).await
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
