//! Who owns which shard, and who runs what is periodic.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use otaria_core::shard::Shard;
use otaria_core::time::Timestamp;

use super::StoreError;

/// A process that takes part. Every start is a new member with a greater number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member(pub i64);

/// Ownership of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardLease {
    /// The shard.
    pub shard: Shard,
    /// Its owner.
    pub member: Member,
    /// Grows with every change of owner.
    pub epoch: i64,
    /// Whether the owner's membership has not run out.
    pub alive: bool,
}

/// The shards that a caller believes to own, with the epochs under which it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedShards {
    /// The caller.
    pub member: Member,
    /// Its shards.
    pub epochs: BTreeMap<Shard, i64>,
}

/// Keeps membership and ownership. Instants are the caller's; the clustered adapter uses the database's
/// own clock instead.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Joins under a new number.
    async fn join(&self, now: Timestamp, ttl: Duration) -> Result<Member, StoreError>;

    /// Stays for another `ttl`; `false` when the membership has run out, also if nobody noticed, or ended.
    async fn renew(&self, member: Member, now: Timestamp, ttl: Duration) -> Result<bool, StoreError>;

    /// Who takes part now, by number.
    async fn members(&self, now: Timestamp) -> Result<Vec<Member>, StoreError>;

    /// Leaves; the member's shards are free at once.
    async fn leave(&self, member: Member) -> Result<(), StoreError>;

    /// Takes those of `shards` that nobody alive owns, each under a new epoch; returns what was taken: none
    /// that the caller owns already, and nothing when its own membership has run out.
    async fn take_shards(
        &self,
        member: Member,
        shards: &[Shard],
        now: Timestamp,
    ) -> Result<Vec<ShardLease>, StoreError>;

    /// Gives up those of `shards` that the member owns: they are free at once, and it writes nothing under them
    /// any more.
    async fn release_shards(&self, member: Member, shards: &[Shard]) -> Result<(), StoreError>;

    /// All leases, by shard; a shard that was left is not there or has an owner that is not alive.
    async fn shard_leases(&self, now: Timestamp) -> Result<Vec<ShardLease>, StoreError>;

    /// Begins a run of a periodic work: `true` when none began within the last `period`, so for one caller.
    async fn begin_run(
        &self,
        work: &'static str,
        member: Member,
        now: Timestamp,
        period: Duration,
    ) -> Result<bool, StoreError>;
}
