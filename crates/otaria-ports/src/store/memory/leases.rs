use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use otaria_core::shard::Shard;
use otaria_core::time::Timestamp;

use super::MemoryStore;
use crate::store::{Leases, Member, OwnedShards, ShardLease, StoreError};

#[async_trait]
impl Leases for MemoryStore {
    async fn join(&self, now: Timestamp, ttl: Duration) -> Result<Member, StoreError> {
        self.transact("joining", |tables| {
            let leases = &mut tables.leases;
            leases.last_member += 1;
            let member = Member(leases.last_member);
            leases.members.insert(member, now + ttl);
            Ok(member)
        })
    }

    async fn renew(&self, member: Member, now: Timestamp, ttl: Duration) -> Result<bool, StoreError> {
        self.transact("renewing a membership", |tables| {
            let alive = tables.leases.is_alive(member, now);
            if alive {
                tables.leases.members.insert(member, now + ttl);
            }
            Ok(alive)
        })
    }

    async fn members(&self, now: Timestamp) -> Result<Vec<Member>, StoreError> {
        self.transact("reading members", |tables| {
            let members = tables.leases.members.iter().filter(|(_, until)| now < **until);
            Ok(members.map(|(member, _)| *member).collect())
        })
    }

    async fn leave(&self, member: Member) -> Result<(), StoreError> {
        self.transact("leaving", |tables| {
            tables.leases.members.remove(&member);
            Ok(())
        })
    }

    async fn take_shards(
        &self,
        member: Member,
        shards: &[Shard],
        now: Timestamp,
    ) -> Result<Vec<ShardLease>, StoreError> {
        self.transact("taking shards", |tables| {
            let leases = &mut tables.leases;
            if !leases.is_alive(member, now) {
                return Ok(Vec::new());
            }
            Ok(shards.iter().filter_map(|shard| leases.take(member, *shard, now)).collect())
        })
    }

    async fn release_shards(&self, member: Member, shards: &[Shard]) -> Result<(), StoreError> {
        self.transact("releasing shards", |tables| {
            for shard in shards {
                if let Some((owner, _)) =
                    tables.leases.shards.get_mut(shard).filter(|(owner, _)| *owner == member)
                {
                    *owner = NOBODY;
                }
            }
            Ok(())
        })
    }

    async fn shard_leases(&self, now: Timestamp) -> Result<Vec<ShardLease>, StoreError> {
        self.transact("reading leases", |tables| {
            let leases = &tables.leases;
            let lease = |(shard, (member, epoch)): (&Shard, &(Member, i64))| ShardLease {
                shard: *shard,
                member: *member,
                epoch: *epoch,
                alive: leases.is_alive(*member, now),
            };
            Ok(leases.shards.iter().map(lease).collect())
        })
    }

    async fn begin_run(
        &self,
        work: &'static str,
        _member: Member,
        now: Timestamp,
        period: Duration,
    ) -> Result<bool, StoreError> {
        self.transact("beginning a run", |tables| {
            let runs = &mut tables.leases.runs;
            if runs.get(work).is_some_and(|last| now < *last + period) {
                return Ok(false);
            }
            runs.insert(work, now);
            Ok(true)
        })
    }
}

/// Owns what was released; members count from 1.
const NOBODY: Member = Member(0);

/// Who takes part, who owns what, and what ran when.
#[derive(Default)]
pub(super) struct LeaseTable {
    last_member: i64,
    /// Until when they take part.
    members: BTreeMap<Member, Timestamp>,
    /// The last owner of each shard that ever had one, whether it is there or not, and its epoch.
    shards: BTreeMap<Shard, (Member, i64)>,
    /// When each periodic work began last.
    runs: BTreeMap<&'static str, Timestamp>,
}

impl LeaseTable {
    fn is_alive(&self, member: Member, now: Timestamp) -> bool {
        self.members.get(&member).is_some_and(|until| now < *until)
    }

    fn take(&mut self, member: Member, shard: Shard, now: Timestamp) -> Option<ShardLease> {
        let last = self.shards.get(&shard).copied();
        if last.is_some_and(|(owner, _)| self.is_alive(owner, now)) {
            return None;
        }
        let epoch = last.map_or(0, |(_, epoch)| epoch) + 1;
        self.shards.insert(shard, (member, epoch));
        Some(ShardLease { shard, member, epoch, alive: true })
    }

    /// Whether the caller still owns a shard under the epoch that it believes in: nobody took it over and
    /// the caller has not left. That its membership ran out is no reason as long as nobody noticed.
    pub(super) fn owns(&self, caller: &OwnedShards, shard: Shard) -> bool {
        let believed = caller.epochs.get(&shard).map(|epoch| (caller.member, *epoch));
        believed.is_some()
            && self.shards.get(&shard) == believed.as_ref()
            && self.members.contains_key(&caller.member)
    }
}
