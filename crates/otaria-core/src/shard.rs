//! Which slice of the fleet a device belongs to.
//!
//! The hash is fixed for ever: it is part of every stored device id.

use siphasher::sip::SipHasher24;
use std::hash::Hasher;

use crate::ids::{DeviceName, ProductKey};

/// How many slices the fleet is cut into. A device's shard is stored, so this never changes.
pub const SHARDS: usize = 256;

/// A slice of devices, owned by one dispatcher at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(pub u8);

impl Shard {
    /// All slices in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).map(Self)
    }

    /// The slice of a device, from its product and name.
    #[must_use]
    pub fn of(product: &ProductKey, device: &DeviceName) -> Self {
        Self::of_text(product.as_str(), device.as_str())
    }

    /// The same for texts that are already known to be well formed.
    #[must_use]
    pub fn of_text(product: &str, device: &str) -> Self {
        let mut hash = SipHasher24::new_with_keys(0, 0);
        hash.write(product.as_bytes());
        hash.write_u8(0);
        hash.write(device.as_bytes());
        let [low, ..] = hash.finish().to_le_bytes();
        Self(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_never_changes() {
        assert_eq!(Shard::of_text("a1Le6d0abcd", "dev_0001"), Shard(PINNED));
    }

    const PINNED: u8 = 78;

    #[test]
    fn all_shards_are_each_of_them_once_in_order() {
        let all: Vec<usize> = Shard::all().map(|shard| usize::from(shard.0)).collect();
        assert_eq!(all, (0..SHARDS).collect::<Vec<_>>());
    }

    #[test]
    fn a_fleet_spreads_evenly() {
        let mut counts = [0_u32; SHARDS];
        for n in 0..100_000 {
            counts[usize::from(Shard::of_text("a1", &format!("dev_{n}")).0)] += 1;
        }
        assert!(counts.iter().all(|c| (280..520).contains(c)), "{counts:?}");
    }
}
