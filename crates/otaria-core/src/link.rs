//! Links to downloads: short, signed, expiring, and checked without asking anybody.
//!
//! A token is base64url of `kind (1) | number (8) | index (1) | expiry (8) | tag (16)`: 46 characters, so that
//! `/d/{token}` stays far below what small devices can hold. A kind that has no use for the index leaves it 0.
//! The tag is the beginning of an HMAC-SHA-256 that also covers [`DOMAIN`], so nothing signed for another
//! purpose opens as a link. Whoever makes a link rounds its expiry: equal inputs give equal tokens, and a device
//! that asks twice may be served from a cache.
//!
//! Invariant: a token opens only if it was signed under this key, bit by bit; base64 is read strictly, so
//! there are no two spellings of one token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::ids::{FirmwareNo, JobNo};
use crate::time::Timestamp;

/// Bytes of a link key.
pub const LINK_KEY_BYTES: usize = 32;

/// Characters of every token.
pub const TOKEN_CHARS: usize = (TOKEN_BYTES * 8).div_ceil(6);

const DOMAIN: &[u8] = b"otaria link 1\0";
const STREAM_DOMAIN: &[u8] = b"otaria stream 1\0";
const FROM_MASTER: &[u8] = b"otaria link key\0";
const FORM_KEY: &[u8] = b"otaria form key\0";
const BODY_BYTES: usize = 18;
const TAG_BYTES: usize = 16;
const TOKEN_BYTES: usize = BODY_BYTES + TAG_BYTES;

const KIND_PACKAGE_FILE: u8 = 1;
const KIND_REJECT_FILE: u8 = 2;

/// The key under which links are signed. Its `Debug` shows nothing of it.
#[derive(Clone)]
pub struct LinkKey([u8; LINK_KEY_BYTES]);

impl std::fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkKey").finish_non_exhaustive()
    }
}

impl LinkKey {
    /// A key of these bytes, drawn at random once.
    #[must_use]
    pub const fn new(bytes: [u8; LINK_KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// The key that belongs to a master key, so that an operator keeps one secret only. Nothing of the
    /// master key can be told from it.
    #[must_use]
    pub fn from_master(master: &[u8; LINK_KEY_BYTES]) -> Self {
        Self(keyed(master, FROM_MASTER).finalize().into_bytes().into())
    }

    /// The key under which upload forms are signed. Neither key can be told from the other's signatures.
    #[must_use]
    pub fn form_key(&self) -> [u8; LINK_KEY_BYTES] {
        keyed(&self.0, FORM_KEY).finalize().into_bytes().into()
    }
}

/// What a link leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Linked {
    /// One file of a firmware, by its place among the firmware's files.
    PackageFile {
        /// The firmware.
        firmware: FirmwareNo,
        /// From 0.
        file: u8,
    },
    /// The lines of a job's list that made no task.
    RejectFile {
        /// The job.
        job: JobNo,
    },
}

impl Linked {
    /// Kind, number and index, as a token holds them.
    const fn parts(self) -> (u8, i64, u8) {
        match self {
            Self::PackageFile { firmware, file } => (KIND_PACKAGE_FILE, firmware.0, file),
            Self::RejectFile { job } => (KIND_REJECT_FILE, job.0, 0),
        }
    }

    const fn of_parts(kind: u8, number: i64, index: u8) -> Option<Self> {
        match (kind, index) {
            (KIND_PACKAGE_FILE, file) => Some(Self::PackageFile { firmware: FirmwareNo(number), file }),
            (KIND_REJECT_FILE, 0) => Some(Self::RejectFile { job: JobNo(number) }),
            // A kind of a later version, or more than this one knows of a kind.
            _ => None,
        }
    }
}

/// A link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// What it leads to.
    pub to: Linked,
    /// From this instant on it is refused.
    pub expires_at: Timestamp,
}

/// Why a token is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkRefused {
    /// It is not of the form of a token, or of a kind that this version does not know.
    #[error("not a download link")]
    Malformed,
    /// It was not signed under this key.
    #[error("download link was not made here")]
    Forged,
    /// Its time is over.
    #[error("download link has expired")]
    Expired,
}

/// The token of a link, [`TOKEN_CHARS`] long. The same key and link give the same token.
#[must_use]
pub fn sign(key: &LinkKey, link: Link) -> String {
    let (kind, number, index) = link.to.parts();

    let mut token = [0; TOKEN_BYTES];
    token[0] = kind;
    token[1..9].copy_from_slice(&number.to_be_bytes());
    token[9] = index;
    token[10..BODY_BYTES].copy_from_slice(&link.expires_at.millis().to_be_bytes());

    let tag = tag_over(key, &token[..BODY_BYTES]).finalize().into_bytes();
    token[BODY_BYTES..].copy_from_slice(&tag[..TAG_BYTES]);
    URL_SAFE_NO_PAD.encode(token)
}

/// The link that a token stands for. The tag is compared in constant time.
///
/// # Errors
/// When it is no token, not ours, or over; in this order, so a forged token tells nothing of its expiry.
pub fn open(key: &LinkKey, token: &str, now: Timestamp) -> Result<Link, LinkRefused> {
    let (body, tag) = decode(token).ok_or(LinkRefused::Malformed)?;
    tag_over(key, &body).verify_truncated_left(&tag).map_err(|_| LinkRefused::Forged)?;

    let [kind, number @ .., index, e0, e1, e2, e3, e4, e5, e6, e7] = body;
    let to = Linked::of_parts(kind, i64::from_be_bytes(number), index).ok_or(LinkRefused::Malformed)?;
    let expires_at = Timestamp::from_millis(i64::from_be_bytes([e0, e1, e2, e3, e4, e5, e6, e7]));
    if now >= expires_at {
        return Err(LinkRefused::Expired);
    }
    Ok(Link { to, expires_at })
}

/// The number by which devices name what a job offers to them over MQTT: the same each time, and nothing can
/// be told from it. Never 0 and below 2^31: kits in C keep it in 32 bits, with or without a sign.
///
/// It opens nothing by itself. Two jobs may share one; a device has at most a few open tasks at a time, so
/// for one device the number tells them apart.
#[must_use]
pub fn stream_id(key: &LinkKey, job: JobNo) -> u32 {
    let mut mac = keyed(&key.0, STREAM_DOMAIN);
    mac.update(&job.0.to_be_bytes());
    let [a, b, c, d, ..] = <[u8; 32]>::from(mac.finalize().into_bytes());
    (u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff).max(1)
}

fn decode(token: &str) -> Option<([u8; BODY_BYTES], [u8; TAG_BYTES])> {
    if token.len() != TOKEN_CHARS {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (body, tag) = bytes.split_at_checked(BODY_BYTES)?;
    Some((body.try_into().ok()?, tag.try_into().ok()?))
}

fn tag_over(key: &LinkKey, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = keyed(&key.0, DOMAIN);
    mac.update(body);
    mac
}

fn keyed(key: &[u8; LINK_KEY_BYTES], domain: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of any length.
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("a key of any length");
    mac.update(domain);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: LinkKey = LinkKey::new([7; LINK_KEY_BYTES]);

    fn link(firmware: i64, file: u8, expires_at: i64) -> Link {
        let to = Linked::PackageFile { firmware: FirmwareNo(firmware), file };
        Link { to, expires_at: Timestamp::from_millis(expires_at) }
    }

    fn rejects_of(job: i64, expires_at: i64) -> Link {
        Link { to: Linked::RejectFile { job: JobNo(job) }, expires_at: Timestamp::from_millis(expires_at) }
    }

    /// Anything that a link can lead to.
    fn linked() -> impl Strategy<Value = Linked> {
        prop_oneof![
            any::<(i64, u8)>().prop_map(|(no, file)| Linked::PackageFile { firmware: FirmwareNo(no), file }),
            any::<i64>().prop_map(|no| Linked::RejectFile { job: JobNo(no) }),
        ]
    }

    /// A token of this kind and index, signed as ours are.
    fn raw(kind: u8, index: u8) -> String {
        let mut token = [0; TOKEN_BYTES];
        (token[0], token[9]) = (kind, index);
        token[10..BODY_BYTES].copy_from_slice(&i64::MAX.to_be_bytes());
        let tag = tag_over(&KEY, &token[..BODY_BYTES]).finalize().into_bytes();
        token[BODY_BYTES..].copy_from_slice(&tag[..TAG_BYTES]);
        URL_SAFE_NO_PAD.encode(token)
    }

    #[test]
    fn a_token_is_short_and_the_same_each_time() {
        let token = sign(&KEY, link(1, 0, 1_763_712_000_000));
        assert_eq!(token.len(), TOKEN_CHARS);
        assert_eq!("/d/".len() + TOKEN_CHARS, 49);
        assert_eq!(token, sign(&KEY, link(1, 0, 1_763_712_000_000)));
        // Links that are out there must open after an update of the server.
        assert_eq!(token, "AQAAAAAAAAABAAAAAZqlbWAAVhm4NAHmanFMvdE033orWA");
        assert_eq!(
            sign(&KEY, rejects_of(1, 1_763_712_000_000)),
            "AgAAAAAAAAABAAAAAZqlbWAAcuodRHxzv17zeLp32eh8KQ"
        );
    }

    #[test]
    fn a_link_ends_at_its_instant() {
        let token = sign(&KEY, link(1, 0, 1_000));
        assert!(open(&KEY, &token, Timestamp::from_millis(999)).is_ok());
        assert_eq!(open(&KEY, &token, Timestamp::from_millis(1_000)), Err(LinkRefused::Expired));
    }

    #[test]
    fn another_key_signs_other_links() {
        let token = sign(&LinkKey::new([8; LINK_KEY_BYTES]), link(1, 0, 1_000));
        assert_eq!(open(&KEY, &token, Timestamp::EPOCH), Err(LinkRefused::Forged));
        let derived = LinkKey::from_master(&[7; LINK_KEY_BYTES]);
        assert_eq!(
            open(&KEY, &sign(&derived, link(1, 0, 1_000)), Timestamp::EPOCH),
            Err(LinkRefused::Forged)
        );
    }

    #[test]
    fn a_kind_of_a_later_version_is_not_taken_for_one_of_ours() {
        let opened = |kind, index| open(&KEY, &raw(kind, index), Timestamp::EPOCH).map(|link| link.to);
        assert_eq!(opened(0, 0), Err(LinkRefused::Malformed));
        assert_eq!(opened(1, 9), Ok(Linked::PackageFile { firmware: FirmwareNo(0), file: 9 }));
        assert_eq!(opened(2, 0), Ok(Linked::RejectFile { job: JobNo(0) }));
        for kind in 3..=u8::MAX {
            assert_eq!(opened(kind, 0), Err(LinkRefused::Malformed), "kind {kind}");
        }
        // Nor one that says more about a job's lines than this version understands.
        assert_eq!(opened(2, 1), Err(LinkRefused::Malformed));
    }

    #[test]
    fn a_job_has_one_stream_under_a_key() {
        let of = |job| stream_id(&KEY, JobNo(job));
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
        assert_ne!(of(7), stream_id(&LinkKey::new([8; LINK_KEY_BYTES]), JobNo(7)));
        assert!((0..1_000).all(|job| (1..1 << 31).contains(&of(job))));
    }

    #[test]
    fn the_key_is_not_shown() {
        assert_eq!(format!("{KEY:?}"), "LinkKey { .. }");
    }

    proptest! {
        #[test]
        fn a_link_survives_its_token(to in linked(), expires_at in 1_i64.., before in 1_i64..) {
            let link = Link { to, expires_at: Timestamp::from_millis(expires_at) };
            let now = Timestamp::from_millis(expires_at.saturating_sub(before));
            prop_assert_eq!(open(&KEY, &sign(&KEY, link), now), Ok(link));
        }

        #[test]
        fn two_links_never_share_a_token(one in linked(), other in linked()) {
            let token = |to| sign(&KEY, Link { to, expires_at: Timestamp::from_millis(1) });
            prop_assert_eq!(token(one) == token(other), one == other);
        }

        #[test]
        fn a_token_with_any_bit_flipped_is_refused(to in linked(), bit in 0..TOKEN_CHARS * 8) {
            let link = Link { to, expires_at: Timestamp::from_millis(i64::MAX) };
            let mut token = sign(&KEY, link).into_bytes();
            token[bit / 8] ^= 1 << (bit % 8);
            let token = String::from_utf8_lossy(&token);
            prop_assert!(matches!(
                open(&KEY, &token, Timestamp::EPOCH),
                Err(LinkRefused::Forged | LinkRefused::Malformed)
            ));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,80}", like in "[A-Za-z0-9_-]{46}") {
            prop_assert!(open(&KEY, &text, Timestamp::EPOCH).is_err());
            prop_assert!(open(&KEY, &like, Timestamp::EPOCH).is_err());
        }
    }
}
