//! What the gateway counts. Labels come from closed enums only, never from devices.

use std::marker::PhantomData;

use metrics::{Counter, Gauge, counter, gauge};
use otaria_ports::pusher::Outcome;

/// A closed set of label values.
pub(crate) trait Label: Copy + 'static {
    /// The label's key.
    const KEY: &'static str;
    /// All values; a value's place is [`Label::place`].
    const ALL: &'static [Self];
    /// The value's text.
    fn text(self) -> &'static str;
    /// The value's place in [`Label::ALL`].
    fn place(self) -> usize;
}

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident, $key:literal { $($variant:ident = $text:literal),+ $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $($variant),+ }

        impl Label for $name {
            const KEY: &'static str = $key;
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn text(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            fn place(self) -> usize {
                self as usize
            }
        }
    )+};
}

labels! {
    /// How a CONNECT ended.
    ConnectResult, "result" {
        Device = "device", Platform = "platform", BadProtocol = "bad_protocol",
        BadClientId = "bad_client_id", BadUserOrPassword = "bad_user_or_password",
        NotAuthorized = "not_authorized", Unavailable = "unavailable", Malformed = "malformed",
        Timeout = "timeout", Gone = "gone", Tls = "tls", Full = "full",
    }
    /// What a device said.
    ReportKind, "kind" {
        Version = "version", Progress = "progress", Refused = "refused", Fetch = "fetch",
        Download = "download",
    }
    /// Why a publish of a peer was dropped.
    DropReason, "reason" {
        TooLong = "too_long", NotAscii = "not_ascii", Foreign = "foreign", Odd = "odd",
        NoService = "no_service", BadJson = "bad_json", BadField = "bad_field",
        Unsubscribed = "unsubscribed", Platform = "platform", Unavailable = "unavailable",
    }
    /// What became of a notice, finer than the engine needs it.
    NoticeFate, "outcome" {
        Written = "written", Gone = "gone", Unsubscribed = "unsubscribed", Stale = "stale",
        Fenced = "fenced", Late = "late", NoClock = "no_clock", Congested = "congested",
        Overtaken = "overtaken",
    }
    /// Why a connection ended.
    CloseReason, "reason" {
        Peer = "peer", Disconnect = "disconnect", TakenOver = "taken_over", KeepAlive = "keep_alive",
        TooSlow = "too_slow", Malformed = "malformed", Io = "io", Shutdown = "shutdown",
        Unavailable = "unavailable", Feed = "feed", Expelled = "expelled",
    }
    /// What went wrong with the event feed.
    FeedTrouble, "trouble" {
        RouterDied = "router_died", QueueFull = "queue_full", SlowClient = "slow_client",
        RefusedFilter = "refused_filter",
    }
}

impl NoticeFate {
    /// As the engine needs it.
    pub(crate) const fn outcome(self) -> Outcome {
        match self {
            Self::Written => Outcome::Written,
            Self::Gone | Self::Unsubscribed => Outcome::Gone,
            Self::Stale | Self::Fenced | Self::Late | Self::NoClock | Self::Overtaken => Outcome::Stale,
            Self::Congested => Outcome::Congested,
        }
    }
}

/// One counter per label value, looked up once.
#[derive(Debug)]
pub(crate) struct Family<L> {
    counters: Box<[Counter]>,
    label: PhantomData<L>,
}

impl<L: Label> Family<L> {
    fn new(name: &'static str) -> Self {
        let counters = L::ALL.iter().map(|label| counter!(name, L::KEY => label.text())).collect();
        Self { counters, label: PhantomData }
    }

    pub(crate) fn count(&self, label: L) {
        self.counters[label.place()].increment(1);
    }
}

/// All counters. Made after the recorder is installed: the handles are kept.
#[derive(Debug)]
pub(crate) struct Meters {
    pub(crate) connections: Gauge,
    pub(crate) platform_clients: Gauge,
    pub(crate) connects: Family<ConnectResult>,
    pub(crate) closes: Family<CloseReason>,
    pub(crate) reports: Family<ReportKind>,
    pub(crate) dropped: Family<DropReason>,
    pub(crate) notices: Family<NoticeFate>,
    pub(crate) stalled_writes: Counter,
    pub(crate) feed: Family<FeedTrouble>,
    pub(crate) events: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
}

impl Meters {
    pub(crate) fn new() -> Self {
        Self {
            connections: gauge!("otaria_mqtt_connections"),
            platform_clients: gauge!("otaria_mqtt_platform_clients"),
            connects: Family::new("otaria_mqtt_connects_total"),
            closes: Family::new("otaria_mqtt_closes_total"),
            reports: Family::new("otaria_mqtt_reports_total"),
            dropped: Family::new("otaria_mqtt_dropped_publishes_total"),
            notices: Family::new("otaria_mqtt_notices_total"),
            stalled_writes: counter!("otaria_mqtt_stalled_writes_total"),
            feed: Family::new("otaria_mqtt_feed_troubles_total"),
            events: counter!("otaria_mqtt_events_total"),
            bytes_in: counter!("otaria_mqtt_bytes_in_total"),
            bytes_out: counter!("otaria_mqtt_bytes_out_total"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<L: Label>() {
        for (place, label) in L::ALL.iter().enumerate() {
            assert_eq!(label.place(), place);
        }
    }

    #[test]
    fn every_label_has_its_place() {
        check::<ConnectResult>();
        check::<ReportKind>();
        check::<DropReason>();
        check::<NoticeFate>();
        check::<CloseReason>();
        check::<FeedTrouble>();
    }
}
