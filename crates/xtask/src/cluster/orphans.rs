//! Whose devices a dispatcher looks after, read from PostgreSQL right before a fault hits it.
//!
//! The rows say which member owns a shard, not which process that is. Whoever does not renew itself after the
//! fault was hit by it. Where all do, members are told apart by their numbers: the dispatchers were started one
//! after the other, and each joined before the next.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::services::Postgres;

/// A member renews itself each second.
const RENEWED_WITHIN: Duration = Duration::from_millis(2_000);

/// Who owned what right before the fault.
#[derive(Debug)]
pub(crate) struct Before {
    /// By member: the names of the devices in its shards.
    devices: BTreeMap<i64, BTreeSet<String>>,
}

impl Before {
    pub(crate) fn look(postgres: &Postgres) -> Result<Self> {
        let rows = postgres.query(
            "select shard_lease.member_id, device.name from device join shard_lease on shard_lease.shard = device.id >> 48",
        )?;
        let mut devices: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
        for row in rows.lines() {
            let (member, name) = row.split_once('|').context("a row without a device")?;
            devices.entry(member.parse()?).or_default().insert(name.to_owned());
        }
        Ok(Self { devices })
    }

    /// The devices of the dispatcher that the fault hit: of the member that it silenced, or else of the one that
    /// was started `victim`-th of so many `dispatchers`. `None` if that cannot be told.
    pub(crate) fn of_hit(
        mut self,
        postgres: &Postgres,
        victim: usize,
        dispatchers: usize,
    ) -> Result<Option<BTreeSet<String>>> {
        let first = renewals(postgres)?;
        std::thread::sleep(RENEWED_WITHIN);
        let then = renewals(postgres)?;
        let silent = silent(&first, &then, self.devices.keys());
        let by_number =
            || self.devices.keys().nth(victim).filter(|_| self.devices.len() == dispatchers).copied();
        Ok(silent.or_else(by_number).and_then(|member| self.devices.remove(&member)))
    }
}

fn renewals(postgres: &Postgres) -> Result<BTreeMap<i64, String>> {
    let rows = postgres.query("select id, expires_at from member")?;
    let row = |row: &str| {
        let (id, expires) = row.split_once('|')?;
        Some((id.parse().ok()?, expires.to_owned()))
    };
    rows.lines().map(|line| row(line).with_context(|| format!("row {line:?}"))).collect()
}

/// The one owner whose row is gone or stood still.
fn silent<'a>(
    first: &BTreeMap<i64, String>,
    then: &BTreeMap<i64, String>,
    owners: impl Iterator<Item = &'a i64>,
) -> Option<i64> {
    let moved = |owner: &i64| then.get(owner).is_some_and(|expires| first.get(owner) != Some(expires));
    let mut silent = owners.filter(|owner| !moved(owner));
    silent.next().copied().filter(|_| silent.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[(i64, &str)]) -> BTreeMap<i64, String> {
        rows.iter().map(|(id, expires)| (*id, (*expires).to_owned())).collect()
    }

    #[test]
    fn the_owner_that_stood_still_is_the_silent_one() {
        let first = rows(&[(1, "10"), (2, "11"), (3, "12"), (4, "9")]);
        let then = rows(&[(1, "12"), (2, "11"), (3, "14"), (4, "9")]);
        // The fourth is no owner: an API, or one that went before.
        assert_eq!(silent(&first, &then, [1, 2, 3].iter()), Some(2));
        assert_eq!(silent(&first, &then, [1, 2, 3, 4].iter()), None);
        let gone = rows(&[(1, "12"), (3, "14")]);
        assert_eq!(silent(&first, &gone, [1, 2, 3].iter()), Some(2));
    }
}
