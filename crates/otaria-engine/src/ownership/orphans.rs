//! A witness: shards that nobody takes over though somebody is there (I20).
//!
//! Looks at what is left after this process took its share. Between an owner's end and the next owner lie its lease
//! and a tick of the others; where whole processes come and go, their leases still count for the shares of the
//! others, hence twice the lease and a good deal more.
//!
//! Invariant: no false alarm. Only looks that came through count, and one that finds an owner forgets the shard.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use otaria_core::shard::Shard;
use otaria_core::time::Timestamp;
use otaria_core::witness::{Broken, Invariant};

/// Beside two leases.
const PATIENCE: Duration = Duration::from_secs(30);
/// So many looks in a row at least: a process that stood still has not looked meanwhile.
const LOOKS: u32 = 10;

/// See the module.
pub(super) struct Orphans {
    patience: Duration,
    /// Since when, and how many looks found it so.
    seen: BTreeMap<Shard, (Timestamp, u32)>,
    /// Told already.
    told: BTreeSet<Shard>,
}

impl Orphans {
    /// Nothing was looked at yet; members live for `ttl` after their last sign.
    pub(super) const fn new(ttl: Duration) -> Self {
        let patience = PATIENCE.saturating_add(ttl).saturating_add(ttl);
        Self { patience, seen: BTreeMap::new(), told: BTreeSet::new() }
    }

    /// A look at the shards that somebody alive owns; returns what has had no owner for too long, each once.
    pub(super) fn look(&mut self, owned: &BTreeSet<Shard>, now: Timestamp) -> Vec<(Shard, Broken)> {
        self.seen.retain(|shard, _| !owned.contains(shard));
        self.told.retain(|shard| !owned.contains(shard));
        let mut found = Vec::new();
        for shard in Shard::all().filter(|shard| !owned.contains(shard)) {
            let (since, looks) = self.seen.entry(shard).or_insert((now, 0));
            *looks = looks.saturating_add(1);
            let alone = now.since(*since);
            if alone >= self.patience && *looks >= LOOKS && self.told.insert(shard) {
                let seen = format!("no owner for {} s, in {looks} looks", alone.as_secs());
                found.push((shard, Broken::new(Invariant::TakeOver, seen)));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn all_but(shard: u8) -> BTreeSet<Shard> {
        Shard::all().filter(|other| *other != Shard(shard)).collect()
    }

    #[test]
    fn a_shard_that_nobody_takes_is_told_once() {
        let mut orphans = Orphans::new(Duration::from_secs(3));
        for second in 0..36 {
            assert_eq!(orphans.look(&all_but(7), at(second)), []);
        }
        let found = orphans.look(&all_but(7), at(36));
        let [(Shard(7), Broken { invariant: Invariant::TakeOver, seen })] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(seen, "no owner for 36 s, in 37 looks");
        assert_eq!(orphans.look(&all_but(7), at(100)), []);
        assert_eq!(orphans.look(&Shard::all().collect(), at(101)), []);
        assert_eq!(orphans.look(&all_but(7), at(200)), [], "it had an owner, so it is another time");
    }

    #[test]
    fn neither_an_owner_between_nor_a_long_sleep_raises_an_alarm() {
        let mut orphans = Orphans::new(Duration::from_secs(3));
        for second in 0..300 {
            let owned = if second % 36 == 0 { Shard::all().collect() } else { all_but(7) };
            assert_eq!(orphans.look(&owned, at(second)), [], "{second}");
        }
        let mut asleep = Orphans::new(Duration::from_secs(3));
        for hour in 0..9 {
            assert_eq!(asleep.look(&all_but(7), at(hour * 3_600)), []);
        }
    }
}
