//! Which topics are a device's own.
//!
//! The place of product key and device name depends on the beginning of the topic (`/sys/{pk}/{dn}/…`,
//! `/ota/device/{word}/{pk}/{dn}`, …). Both must stand at that place literally; a wildcard may stand only
//! behind them. Everything else is refused, so no filter ever reaches another device's topics.

use std::ops::{BitOr, BitOrAssign};

/// Longest topic or filter in bytes.
pub const TOPIC_MAX: usize = 128;

/// Why a topic or a filter is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTopic {
    /// Longer than [`TOPIC_MAX`].
    #[error("topic is too long")]
    TooLong,
    /// Holds something else than printable ASCII.
    #[error("topic is not printable ASCII")]
    NotAscii,
    /// Does not hold the device's own product key and name at the right place.
    #[error("topic belongs to somebody else")]
    Foreign,
}

/// What a device publishes on one of its own topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uplink {
    /// The version that it runs.
    Inform,
    /// How far its update is, or how it failed.
    Progress,
    /// Asks whether there is an update.
    FirmwareGet,
    /// Asks for a piece of a package.
    FileDownload,
    /// The older way to ask for an update; nobody answers.
    LegacyRequest,
    /// Its own topic, but nothing that this gateway listens to.
    Other,
}

/// What the gateway publishes to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Downlink {
    /// A notice.
    Upgrade = 1,
    /// The answer to [`Uplink::FirmwareGet`].
    GetReply = 2,
    /// The answer to [`Uplink::FileDownload`].
    DownloadReply = 4,
    /// The older topic of a notice; granted, never used.
    LegacyRequest = 8,
}

/// A set of [`Downlink`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Downlinks(u8);

/// The device whose topics are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own<'a> {
    /// Its product key.
    pub product_key: &'a str,
    /// Its name.
    pub device_name: &'a str,
}

#[derive(Clone, Copy)]
enum Level {
    Is(&'static str),
    ProductKey,
    DeviceName,
}

use Level::{DeviceName, Is, ProductKey};

const INFORM: &[Level] = &[Is("ota"), Is("device"), Is("inform"), ProductKey, DeviceName];
const PROGRESS: &[Level] = &[Is("ota"), Is("device"), Is("progress"), ProductKey, DeviceName];
const REQUEST: &[Level] = &[Is("ota"), Is("device"), Is("request"), ProductKey, DeviceName];
const UPGRADE: &[Level] = &[Is("ota"), Is("device"), Is("upgrade"), ProductKey, DeviceName];
const FIRMWARE_GET: &[Level] =
    &[Is("sys"), ProductKey, DeviceName, Is("thing"), Is("ota"), Is("firmware"), Is("get")];
const GET_REPLY: &[Level] =
    &[Is("sys"), ProductKey, DeviceName, Is("thing"), Is("ota"), Is("firmware"), Is("get_reply")];
const DOWNLOAD: &[Level] = &[Is("sys"), ProductKey, DeviceName, Is("thing"), Is("file"), Is("download")];
const DOWNLOAD_REPLY: &[Level] =
    &[Is("sys"), ProductKey, DeviceName, Is("thing"), Is("file"), Is("download_reply")];

const UPLINKS: [(Uplink, &[Level]); 5] = [
    (Uplink::Inform, INFORM),
    (Uplink::Progress, PROGRESS),
    (Uplink::FirmwareGet, FIRMWARE_GET),
    (Uplink::FileDownload, DOWNLOAD),
    (Uplink::LegacyRequest, REQUEST),
];

impl Downlink {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Upgrade, Self::GetReply, Self::DownloadReply, Self::LegacyRequest];

    const fn levels(self) -> &'static [Level] {
        match self {
            Self::Upgrade => UPGRADE,
            Self::GetReply => GET_REPLY,
            Self::DownloadReply => DOWNLOAD_REPLY,
            Self::LegacyRequest => REQUEST,
        }
    }

    /// The topic by which it reaches a device.
    #[must_use]
    pub fn topic(self, own: Own<'_>) -> String {
        let mut topic = String::with_capacity(TOPIC_MAX);
        for level in self.levels() {
            topic.push('/');
            topic.push_str(own.text(*level));
        }
        topic
    }
}

impl Downlinks {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// What `_ss=1` subscribes a device to.
    pub const AUTOMATIC: Self =
        Self(Downlink::Upgrade as u8 | Downlink::GetReply as u8 | Downlink::DownloadReply as u8);

    /// Whether one of them is in the set.
    #[must_use]
    pub const fn contains(self, downlink: Downlink) -> bool {
        self.0 & downlink as u8 != 0
    }

    /// This set without the other's members.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl From<Downlink> for Downlinks {
    fn from(downlink: Downlink) -> Self {
        Self(downlink as u8)
    }
}

impl BitOr for Downlinks {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Downlinks {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl<'a> Own<'a> {
    /// What a publish on `topic` means, coming from this device.
    ///
    /// # Errors
    /// When it is not one of the device's own topics.
    pub fn publishes(self, topic: &str) -> Result<Uplink, BadTopic> {
        well_formed(topic)?;
        if topic.contains(['+', '#']) || !self.stands_in(topic) {
            return Err(BadTopic::Foreign);
        }
        let known = UPLINKS.iter().find(|(_, levels)| self.matches(topic, levels));
        Ok(known.map_or(Uplink::Other, |(uplink, _)| *uplink))
    }

    /// What a subscription to `filter` brings this device; may be nothing, if the filter is its own.
    ///
    /// # Errors
    /// When the filter could reach beyond the device's own topics.
    pub fn subscribes(self, filter: &str) -> Result<Downlinks, BadTopic> {
        well_formed(filter)?;
        if !self.stands_in(filter) {
            return Err(BadTopic::Foreign);
        }
        let granted = Downlink::ALL.into_iter().filter(|downlink| self.matches(filter, downlink.levels()));
        Ok(granted.fold(Downlinks::NONE, |set, downlink| set | downlink.into()))
    }

    /// Whether product key and device name stand literally where a topic of this beginning has them.
    fn stands_in(self, topic: &str) -> bool {
        let Some(rest) = topic.strip_prefix('/') else { return false };
        let mut levels = rest.split('/');
        let literal = |level: &str| !level.is_empty() && !level.contains(['+', '#', '$']);
        let product_key = match levels.next() {
            Some("sys") => levels.next(),
            Some("ota") => {
                let kind = (levels.next(), levels.next());
                if !matches!(kind, (Some("device"), Some(word)) if literal(word)) {
                    return false;
                }
                levels.next()
            }
            Some("shadow" | "ext") => {
                if !levels.next().is_some_and(literal) {
                    return false;
                }
                levels.next()
            }
            first => first,
        };
        product_key == Some(self.product_key) && levels.next() == Some(self.device_name)
    }

    /// Whether a filter, which may be a plain topic, matches a known topic of this device.
    fn matches(self, filter: &str, known: &[Level]) -> bool {
        let mut filter = filter.strip_prefix('/').unwrap_or(filter).split('/');
        for level in known {
            match filter.next() {
                Some("#") => return true,
                Some("+") => {}
                Some(text) if text == self.text(*level) => {}
                _ => return false,
            }
        }
        // `a/#` matches `a` itself, too.
        matches!(filter.next(), None | Some("#"))
    }

    fn text(self, level: Level) -> &'a str {
        match level {
            Is(text) => text,
            ProductKey => self.product_key,
            DeviceName => self.device_name,
        }
    }
}

fn well_formed(topic: &str) -> Result<(), BadTopic> {
    if topic.len() > TOPIC_MAX {
        return Err(BadTopic::TooLong);
    }
    if topic.bytes().all(|b| b.is_ascii_graphic()) { Ok(()) } else { Err(BadTopic::NotAscii) }
}

#[cfg(test)]
mod tests;
