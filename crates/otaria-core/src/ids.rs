//! Names and numbers that tell things apart.
//!
//! Two families: *names* come from outside, are checked once when parsed and shown to people
//! (`ProductKey`, `DeviceName`, `JobId`…); *numbers* are the store's own keys (`JobNo`, `DeviceId`…) and
//! never leave the process but inside an opaque text ([`TaskId`], [`iot_id`]).

use std::fmt;

use crate::shard::Shard;

/// Why a text is not a name of the wanted kind. The message names the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {rule}")]
pub struct BadName {
    /// The kind of name, as the API spells it.
    pub what: &'static str,
    /// The rule, as part of a sentence.
    pub rule: &'static str,
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

numbers! {
    /// An account in the store.
    AccountNo,
    /// A product in the store.
    ProductNo,
    /// A firmware in the store.
    FirmwareNo,
    /// A job in the store.
    JobNo,
    /// A group in the store.
    GroupNo,
    /// A batch of registrations: the `ApplyId` of the API.
    ApplyNo,
}

/// The account that exists from the first migration on.
pub const DEFAULT_ACCOUNT: AccountNo = AccountNo(1);

/// A device: `shard << 48 | n`, so that sorting by device sorts by shard.
///
/// `n` is drawn from one growing sequence, so it is also the device's place in the order of registration
/// (the membership sequence of a target set).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(pub i64);

impl DeviceId {
    const N_BITS: u32 = 48;
    const N_MASK: i64 = (1 << Self::N_BITS) - 1;

    /// Puts a device together.
    #[must_use]
    pub fn new(shard: Shard, n: i64) -> Self {
        Self((i64::from(shard.0) << Self::N_BITS) | (n & Self::N_MASK))
    }

    /// The slice of devices it belongs to.
    #[must_use]
    pub fn shard(self) -> Shard {
        Shard(u8::try_from((self.0 >> Self::N_BITS) & 0xff).unwrap_or(u8::MAX))
    }

    /// Its place in the order of registration.
    #[must_use]
    pub fn n(self) -> i64 {
        self.0 & Self::N_MASK
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $ok:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            #[doc = concat!("Takes a text that is ", $rule, ".")]
            ///
            /// # Errors
            /// Names the rule when the text is not.
            pub fn parse(text: &str) -> Result<Self, BadName> {
                let ok: fn(&str) -> bool = $ok;
                if ok(text) { Ok(Self(text.into())) } else { Err(BadName { what: $what, rule: $rule }) }
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )+};
}

/// Whether a text has `min..=max` characters, all ASCII alphanumeric or in `extra`.
pub(crate) fn plain(text: &str, min: usize, max: usize, extra: &str) -> bool {
    (min..=max).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
}

names! {
    /// A product's public key; part of every device topic, so it holds no `/`, `+`, `#`, `&` or `|`.
    ProductKey, "ProductKey", "1-32 letters or digits", |t| plain(t, 1, 32, "");
    /// A device's name, unique in its product.
    DeviceName, "DeviceName", "4-32 letters, digits, `-`, `_`, `@`, `.` or `:`", |t| plain(t, 4, 32, "-_@.:");
    /// A part of a device that is updated on its own. The store and the wire leave out `default`.
    ModuleName, "ModuleName", "1-64 letters, digits, `.`, `-` or `_`", |t| plain(t, 1, 64, ".-_");
    /// A firmware version as a platform names it.
    Version, "Version", "1-64 letters, digits, `.`, `-` or `_`", |t| plain(t, 1, 64, ".-_");
    /// A firmware's public id.
    FirmwareId, "FirmwareId", "1-64 letters or digits", |t| plain(t, 1, 64, "");
    /// A job's public id.
    JobId, "JobId", "1-64 letters or digits", |t| plain(t, 1, 64, "");
    /// A group's public id.
    GroupId, "GroupId", "1-64 letters or digits", |t| plain(t, 1, 64, "");
    /// An access key's public half.
    AccessKeyId, "AccessKeyId", "4-64 letters, digits, `-`, `_` or `.`", |t| plain(t, 4, 64, "-_.");
    /// A caller's own name for one create call; the same token and body mean the same job.
    ClientToken, "ClientToken", "1-64 printable ASCII characters", |t| {
        (1..=64).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_graphic())
    };
}

impl ModuleName {
    /// The module that every device has.
    pub const DEFAULT: &'static str = "default";

    /// The module that is meant when none is named.
    #[must_use]
    pub fn default_module() -> Self {
        Self(Self::DEFAULT.into())
    }

    /// Whether this is the module that every device has.
    #[must_use]
    pub fn is_default(&self) -> bool {
        &*self.0 == Self::DEFAULT
    }
}

/// The version that a device informed, kept as it came: devices are not held to the platform's alphabet.
///
/// At most 64 bytes of printable text; longer or binary texts are refused at the gateway.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InformedVersion(Box<str>);

impl InformedVersion {
    /// Takes what a device sent.
    ///
    /// # Errors
    /// When it is empty, longer than 64 bytes or holds control characters.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        if (1..=64).contains(&text.len()) && !text.chars().any(char::is_control) {
            return Ok(Self(text.into()));
        }
        Err(BadName { what: "version", rule: "1-64 bytes of printable text" })
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq<Version> for InformedVersion {
    fn eq(&self, other: &Version) -> bool {
        *self.0 == *other.0
    }
}

/// One device in one job, as a text that a caller may keep: job and place in the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// The job.
    pub job: JobNo,
    /// The task's place in its job, from 1, in the order in which tasks were made.
    pub seq: u32,
}

impl TaskId {
    /// Reads the text form; `None` when it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (job, seq) = (text.get(..16)?, text.get(16..24)?);
        if text.len() != 24 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        Some(Self { job: JobNo(i64::from_str_radix(job, 16).ok()?), seq: u32::from_str_radix(seq, 16).ok()? })
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:08x}", self.job.0, self.seq)
    }
}

/// The text by which the API names a device beside product and name.
#[must_use]
pub fn iot_id(device: DeviceId) -> String {
    format!("iot{:016x}", device.0)
}

/// Reads [`iot_id`] back; whether the device exists is for the store to say.
#[must_use]
pub fn parse_iot_id(text: &str) -> Option<DeviceId> {
    let hex = text.strip_prefix("iot").filter(|hex| hex.len() == 16)?;
    i64::from_str_radix(hex, 16).ok().map(DeviceId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_sort_by_shard_first() {
        let (a, b) = (DeviceId::new(Shard(3), 900), DeviceId::new(Shard(4), 1));
        assert!(a < b);
        assert_eq!((a.shard(), a.n()), (Shard(3), 900));
        assert_eq!((b.shard(), b.n()), (Shard(4), 1));
    }

    #[test]
    fn a_task_id_survives_its_text() {
        let id = TaskId { job: JobNo(77), seq: 1_000_000 };
        assert_eq!(TaskId::parse(&id.to_string()), Some(id));
        assert_eq!(TaskId::parse("nonsense"), None);
        assert_eq!(TaskId::parse("ü00000000000000000000000"), None);
    }

    #[test]
    fn an_iot_id_survives_its_text() {
        let id = DeviceId::new(Shard(255), 12345);
        assert_eq!(parse_iot_id(&iot_id(id)), Some(id));
        assert_eq!(parse_iot_id("iot12"), None);
    }

    #[test]
    fn a_device_name_that_could_leave_its_topic_is_refused() {
        for bad in ["a/b/c", "abc", "dev+1", "dev#1", "dev&1", "", "ünit-1"] {
            assert!(DeviceName::parse(bad).is_err(), "{bad}");
        }
        assert!(DeviceName::parse("dev_0001@x.y:z-1").is_ok());
    }
}
