//! Which shards this process owns, and until when.
//!
//! Joins, renews once a second, takes what nobody alive owns. The owner counts its time from before it
//! sent the renewal, so it never believes in a lease longer than the store does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use otaria_core::shard::{SHARDS, Shard};
use otaria_core::time::Timestamp;
use otaria_ports::store::{Member, OwnedShards};

use crate::Wake;
use crate::error::CommandError;
use crate::shell::Shell;

/// Between two renewals.
const RENEWAL: Duration = Duration::from_secs(1);
/// Kept back from a lease's end, for clocks that differ.
const MARGIN: Duration = Duration::from_millis(100);

/// What is owned at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// The member and its shards with their epochs.
    pub shards: OwnedShards,
    /// Nothing claimed under these leases may be written from then on.
    pub until: Timestamp,
}

/// Keeps this process's membership and leases.
pub struct Owner {
    shell: Arc<Shell>,
    ttl: Duration,
    owned: Ownership,
}

impl Owner {
    /// Takes what is free for a member that has just joined. With `alone` the caller vouches that no other
    /// process works on this store (it holds the folder's lock), so whoever else is a member is gone.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn begin(
        shell: Arc<Shell>,
        member: Member,
        ttl: Duration,
        alone: bool,
        now: Timestamp,
    ) -> Result<Self, CommandError> {
        if alone {
            let leases = shell.deps.store.shard_leases(now).await?;
            let gone: BTreeSet<Member> = leases.iter().map(|lease| lease.member).collect();
            for member in gone {
                shell.deps.store.leave(member).await?;
            }
        }
        let shards = OwnedShards { member, epochs: BTreeMap::new() };
        let owned = Ownership { shards, until: now + ttl - MARGIN };
        let mut owner = Self { shell, ttl, owned };
        owner.take(now).await?;
        Ok(owner)
    }

    /// Renews, and takes what is free. Returns what is owned now.
    ///
    /// # Errors
    /// When store or gateways are not available: what is owned then runs out by itself.
    pub async fn tick(&mut self, now: Timestamp) -> Result<Wake, CommandError> {
        let store = &self.shell.deps.store;
        if store.renew(self.owned.shards.member, now, self.ttl).await? {
            self.owned.until = now + self.ttl - MARGIN;
        } else {
            tracing::warn!(member = self.owned.shards.member.0, "membership ran out; joining anew");
            let member = store.join(now, self.ttl).await?;
            self.owned.shards = OwnedShards { member, epochs: BTreeMap::new() };
            self.owned.until = now + self.ttl - MARGIN;
        }
        self.take(now).await?;
        Ok(Wake::At(now + RENEWAL))
    }

    async fn take(&mut self, now: Timestamp) -> Result<(), CommandError> {
        if self.owned.shards.epochs.len() == SHARDS {
            return Ok(());
        }
        let wanted: Vec<Shard> =
            Shard::all().filter(|shard| !self.owned.shards.epochs.contains_key(shard)).collect();
        let (store, member) = (&self.shell.deps.store, self.owned.shards.member);
        store.take_shards(member, &wanted, now).await?;
        // Read back: the answer to an earlier call may have been lost, and what is ours is not taken twice.
        for lease in store.shard_leases(now).await? {
            if lease.member == member && !self.owned.shards.epochs.contains_key(&lease.shard) {
                self.shell.deps.pusher.epoch(lease.shard, lease.epoch).await?;
                self.owned.shards.epochs.insert(lease.shard, lease.epoch);
            }
        }
        metrics::gauge!("otaria_shards_owned").set(self.owned.shards.epochs.len() as f64);
        Ok(())
    }

    /// Hands everything over: others take it at once.
    ///
    /// # Errors
    /// When the store is not available: then others wait until the leases run out.
    pub async fn leave(&mut self) -> Result<(), CommandError> {
        self.owned.shards.epochs.clear();
        Ok(self.shell.deps.store.leave(self.owned.shards.member).await?)
    }

    /// What is owned now.
    #[must_use]
    pub const fn owned(&self) -> &Ownership {
        &self.owned
    }
}
