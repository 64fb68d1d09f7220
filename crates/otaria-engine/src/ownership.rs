//! Which shards this process owns, and until when.
//!
//! Joins, renews in time, and keeps a fair share: it takes what nobody alive owns and gives up what is over its
//! share, a bounded number at a time. The owner counts its time from before it sent the renewal, so it never
//! believes in a lease longer than the store does.
//!
//! Shards also say who carries a job's expansion and closing: the owner of the shard of its number. Two that both
//! believe to be it do no harm, since each step is written by compare-and-set.

mod orphans;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use otaria_core::ids::JobNo;
use otaria_core::shard::{SHARDS, Shard};
use otaria_core::time::Timestamp;
use otaria_ports::store::{Member, OwnedShards};

use self::orphans::Orphans;
use crate::error::CommandError;
use crate::shell::Shell;
use crate::{Wake, witness};

/// Between two renewals, at most; and this part of the lease.
const RENEWAL: Duration = Duration::from_secs(1);
const RENEWALS: u32 = 6;
/// Between the last claim under a shard and its release: notices on their way are written or too late by then
/// (tokens are dated 0.4 s ahead and good for 0.3 s).
const HAND_OVER: Duration = Duration::from_millis(800);
/// Shards given up in one tick: the others go on meanwhile.
const RELEASED_AT_ONCE: usize = 32;
/// Kept back from a lease's end, for clocks that differ.
const MARGIN: Duration = Duration::from_millis(100);

/// What is owned at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// The member and its shards with their epochs.
    pub shards: OwnedShards,
    /// Member without interruption since then.
    pub since: Timestamp,
    /// Nothing claimed under these leases may be written from then on.
    pub until: Timestamp,
}

impl Ownership {
    /// Whether this process expands and closes a job.
    #[must_use]
    pub fn carries(&self, job: JobNo) -> bool {
        // 256 shards: the remainder is one of them.
        u8::try_from(job.0.rem_euclid(SHARDS as i64))
            .is_ok_and(|n| self.shards.epochs.contains_key(&Shard(n)))
    }
}

/// Keeps this process's membership and leases.
pub struct Owner {
    shell: Arc<Shell>,
    ttl: Duration,
    /// Whether no other process works on this store.
    alone: bool,
    owned: Ownership,
    /// Not worked on any more since then; released when nothing of theirs is under way.
    leaving: BTreeMap<Shard, Timestamp>,
    orphans: Orphans,
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
        let owned = Ownership { shards, since: now, until: now + ttl - MARGIN };
        let orphans = Orphans::new(ttl);
        let mut owner = Self { shell, ttl, alone, owned, leaving: BTreeMap::new(), orphans };
        owner.share_out(now).await?;
        Ok(owner)
    }

    /// Renews, and takes what is free. Returns what is owned now.
    ///
    /// # Errors
    /// When store or gateways are not available: what is owned then runs out by itself.
    pub async fn tick(&mut self, now: Timestamp) -> Result<Wake, CommandError> {
        let store = &self.shell.deps.store;
        if store.renew(self.owned.shards.member, now, self.ttl).await? {
            if self.owned.until <= now {
                // By the store's clock it went on; by this one it stood still, or the clock leapt.
                self.owned.since = now;
            }
            self.owned.until = now + self.ttl - MARGIN;
        } else {
            tracing::warn!(member = self.owned.shards.member.0, "membership ran out; joining anew");
            let member = store.join(now, self.ttl).await?;
            let shards = OwnedShards { member, epochs: BTreeMap::new() };
            self.owned = Ownership { shards, since: now, until: now + self.ttl - MARGIN };
            self.leaving.clear();
            self.orphans = Orphans::new(self.ttl);
        }
        self.share_out(now).await?;
        Ok(Wake::At(now + RENEWAL.min(self.ttl / RENEWALS)))
    }

    /// Gives up what is over the fair share, and takes what is free up to it.
    async fn share_out(&mut self, now: Timestamp) -> Result<(), CommandError> {
        let (store, member) = (&self.shell.deps.store, self.owned.shards.member);
        let is_idle = |(_, since): &(&Shard, &Timestamp)| now.since(**since) >= HAND_OVER;
        let idle: Vec<Shard> = self.leaving.iter().filter(is_idle).map(|(shard, _)| *shard).collect();
        if !idle.is_empty() {
            store.release_shards(member, &idle).await?;
            self.leaving.retain(|shard, _| !idle.contains(shard));
        }
        let members = if self.alone { 1 } else { store.members(now).await?.len().max(1) };
        let share = SHARDS.div_ceil(members);
        let owned = &mut self.owned.shards.epochs;
        let over = owned.len().saturating_sub(share).min(RELEASED_AT_ONCE);
        let over: Vec<Shard> = owned.keys().rev().take(over).copied().collect();
        for shard in over {
            owned.remove(&shard);
            self.leaving.insert(shard, now);
        }
        let room = share.saturating_sub(owned.len() + self.leaving.len());
        // Also without room: what an earlier call took and could not tell is found, and given up in turn.
        if room > 0 || !self.alone {
            self.take(now, room).await?;
        }
        metrics::gauge!("otaria_shards_owned").set(self.owned.shards.epochs.len() as f64);
        Ok(())
    }

    async fn take(&mut self, now: Timestamp, room: usize) -> Result<(), CommandError> {
        let (store, member) = (&self.shell.deps.store, self.owned.shards.member);
        let leases = store.shard_leases(now).await?;
        let held: BTreeSet<Shard> =
            leases.iter().filter(|lease| lease.alive).map(|lease| lease.shard).collect();
        // Each begins elsewhere, so that several that come at once do not all want the same.
        let begin = usize::try_from(member.0.rem_euclid(SHARDS as i64)).unwrap_or_default() * 97 % SHARDS;
        let all: Vec<Shard> = Shard::all().collect();
        let free = all[begin..].iter().chain(&all[..begin]).filter(|shard| !held.contains(shard));
        let wanted: Vec<Shard> = free.take(room).copied().collect();
        let leases = if wanted.is_empty() {
            leases
        } else {
            store.take_shards(member, &wanted, now).await?;
            store.shard_leases(now).await?
        };
        let held = leases.iter().filter(|lease| lease.alive).map(|lease| lease.shard).collect();
        for (shard, broken) in self.orphans.look(&held, now) {
            witness::of_shard(shard, &broken);
        }
        // Read back: the answer to an earlier call may have been lost, and what is ours is not taken twice.
        for lease in leases {
            let ours = lease.member == member && !self.leaving.contains_key(&lease.shard);
            if ours && !self.owned.shards.epochs.contains_key(&lease.shard) {
                self.shell.deps.pusher.epoch(lease.shard, lease.epoch).await?;
                self.owned.shards.epochs.insert(lease.shard, lease.epoch);
            }
        }
        Ok(())
    }

    /// Hands everything over: others take it at once.
    ///
    /// # Errors
    /// When the store is not available: then others wait until the leases run out.
    pub async fn leave(&mut self) -> Result<(), CommandError> {
        self.owned.shards.epochs.clear();
        self.leaving.clear();
        Ok(self.shell.deps.store.leave(self.owned.shards.member).await?)
    }

    /// What is owned now.
    #[must_use]
    pub const fn owned(&self) -> &Ownership {
        &self.owned
    }
}

/// A survey of all jobs is due when other shards are owned than at the last one, and now and then: whatever hint
/// was lost is found again.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    epochs: Option<BTreeMap<Shard, i64>>,
    again_at: Option<Timestamp>,
    /// How often something had been lost.
    losses: u64,
}

/// Between two surveys.
const SURVEY_PERIOD: Duration = Duration::from_secs(60);

impl Survey {
    pub(crate) fn is_due(&self, shell: &Shell, owned: &Ownership, now: Timestamp) -> bool {
        self.epochs.as_ref() != Some(&owned.shards.epochs)
            || self.again_at.is_none_or(|at| at <= now)
            || self.losses != shell.losses.load(Ordering::SeqCst)
    }

    /// Notes that all jobs were read after so many losses.
    pub(crate) fn done(&mut self, losses: u64, owned: &Ownership, now: Timestamp) {
        self.losses = losses;
        self.epochs = Some(owned.shards.epochs.clone());
        self.again_at = Some(now + SURVEY_PERIOD);
    }
}
