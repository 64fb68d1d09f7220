//! Leases.

use otaria_core::shard::Shard;
use otaria_ports::store::{Member, ShardLease, StoreError};

use super::{Columns, Of};

pub(crate) fn shard_lease(row: &impl Columns) -> Result<ShardLease, StoreError> {
    let of = Of { table: "shard_lease", row };
    Ok(ShardLease {
        shard: Shard(of.parsed("shard", |shard: i64| u8::try_from(shard).ok())?),
        member: Member(of.get("member_id")?),
        epoch: of.get("epoch")?,
        alive: of.get::<i64>("alive")? == 1,
    })
}
