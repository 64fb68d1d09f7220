//! The members of a group, as it was when the job was made.

use otaria_core::ids::{DeviceId, GroupNo};
use otaria_ports::store::{Cursor, Slice};

use super::chunk::FIRST_CHUNK_LINES;
use super::{empty_slice, sort_out, sorted};
use crate::book::JobFacts;
use crate::error::CommandError;
use crate::shell::Shell;

/// The next members, in the order of their ids.
pub(super) async fn slice(
    shell: &Shell,
    facts: &JobFacts,
    (group, upto): (GroupNo, i64),
    cursor: Cursor,
) -> Result<Slice, CommandError> {
    let job = &facts.job;
    let after = cursor.after.as_deref().and_then(|after| after.parse().ok()).map(DeviceId);
    let limit = if after.is_none() { FIRST_CHUNK_LINES } else { shell.deps.store.slicing().slice_names };
    let module = &facts.firmware.new.module;
    let store = &shell.deps.store;
    let devices = store.scan_group(group, upto, job.product, module, after, limit).await?;
    let last = devices.last().map(|(_, candidate)| candidate.device.0.to_string());
    let to = Cursor {
        offset: cursor.offset + devices.len() as u64,
        slice: 0,
        after: last.or_else(|| cursor.after.clone()),
    };
    let mut slice = empty_slice(job.no, cursor, to, devices.len() < limit);
    slice.lines = devices.len() as u64;
    for (name, candidate) in devices {
        sort_out(facts, &name, Some(candidate), &mut slice);
    }
    Ok(sorted(slice))
}
