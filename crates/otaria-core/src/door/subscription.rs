//! What a session asked to be sent, in two bytes.
//!
//! A set of topics instead of a list of filters: a device has four topics that anything is ever sent on.
//! So a device that is subscribed twice (by `_ss=1` and by itself) still gets each message once. The
//! price: taking back one of two overlapping filters takes back what both had granted.

use super::topic::{Downlink, Downlinks};

/// How a message to a device is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// QoS 0.
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce,
}

/// The topics that a session is subscribed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subscriptions {
    granted: Downlinks,
    at_least_once: Downlinks,
}

impl Subscriptions {
    /// What `_ss=1` begins with: the automatic topics at QoS 0.
    #[must_use]
    pub const fn automatic() -> Self {
        Self { granted: Downlinks::AUTOMATIC, at_least_once: Downlinks::NONE }
    }

    /// Adds topics; the last word about the quality counts, as a repeated SUBSCRIBE replaces the first.
    pub fn add(&mut self, downlinks: Downlinks, delivery: Delivery) {
        self.granted |= downlinks;
        self.at_least_once = match delivery {
            Delivery::AtMostOnce => self.at_least_once.without(downlinks),
            Delivery::AtLeastOnce => self.at_least_once | downlinks,
        };
    }

    /// Takes topics back.
    pub fn remove(&mut self, downlinks: Downlinks) {
        self.granted = self.granted.without(downlinks);
        self.at_least_once = self.at_least_once.without(downlinks);
    }

    /// How a message on this topic is sent to the session; `None` when it did not ask for it.
    #[must_use]
    pub const fn delivery(self, downlink: Downlink) -> Option<Delivery> {
        if !self.granted.contains(downlink) {
            return None;
        }
        Some(if self.at_least_once.contains(downlink) { Delivery::AtLeastOnce } else { Delivery::AtMostOnce })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explicit_subscription_beside_the_automatic_one_raises_the_quality_and_is_still_one() {
        let mut subscriptions = Subscriptions::automatic();
        assert_eq!(subscriptions.delivery(Downlink::Upgrade), Some(Delivery::AtMostOnce));
        subscriptions.add(Downlink::Upgrade.into(), Delivery::AtLeastOnce);
        assert_eq!(subscriptions.delivery(Downlink::Upgrade), Some(Delivery::AtLeastOnce));
        assert_eq!(subscriptions.delivery(Downlink::GetReply), Some(Delivery::AtMostOnce));
        subscriptions.remove(Downlink::Upgrade.into());
        assert_eq!(subscriptions.delivery(Downlink::Upgrade), None);
    }

    #[test]
    fn who_asked_for_nothing_gets_nothing() {
        let subscriptions = Subscriptions::default();
        assert!(Downlink::ALL.into_iter().all(|downlink| subscriptions.delivery(downlink).is_none()));
    }
}
