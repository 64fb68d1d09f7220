//! A part of a fleet: first its draw, then its devices, both from what was when the job was made.
//!
//! Invariant: who is in is a function of that moment. A draw that is interrupted is made anew and comes to
//! the same; a device that was not there, or did not match, is never in.

use otaria_core::gray::{Draw, Last};
use otaria_core::ids::{DeviceId, DeviceName};
use otaria_ports::store::{Cursor, NewTask, Slice};

use super::{empty_slice, scope_of, sorted};
use crate::book::JobFacts;
use crate::error::CommandError;
use crate::shell::Shell;

/// Devices looked at in one step: a reader's work of some ten milliseconds.
const LOOK: usize = 16_384;
/// Devices to look at once at least.
const LOOK_MIN: usize = 5_000;

/// A draw under way. Lost when the process ends, and then begun anew.
#[derive(Debug)]
pub(crate) struct Drawing {
    draw: Draw,
    after: Option<DeviceName>,
}

/// Looks at some more devices; `None` when the draw is done and its outcome is kept.
pub(super) async fn draw(
    shell: &Shell,
    facts: &JobFacts,
    (matching, count): (u64, u64),
    kept: Option<Drawing>,
) -> Result<Option<Drawing>, CommandError> {
    let job = facts.job.no;
    let new = || Drawing { draw: Draw::new(job, matching, count), after: None };
    let mut drawing = kept.unwrap_or_else(new);
    let rows = shell.deps.store.scan_drawn(job, drawing.after.as_ref(), LOOK).await?;
    let is_last = rows.len() < LOOK;
    let scope = scope_of(facts);
    for row in &rows {
        if scope.takes(row.version_then.as_ref()) {
            drawing.draw.add(row.candidate.device);
        }
    }
    if !is_last {
        drawing.after = rows.into_iter().next_back().map(|row| row.name);
        return Ok(Some(drawing));
    }
    match drawing.draw.finish() {
        Ok(last) => {
            // Nobody: no device has a rank as small as this.
            let last = last.unwrap_or(Last { rank: 0, device: DeviceId(0) });
            shell.deps.store.put_draw(job, last).await?;
            tracing::info!(job.id = %facts.job.id, matching, count, "part drawn");
            Ok(None)
        }
        Err(wider) => Ok(Some(Drawing { draw: wider, after: None })),
    }
}

/// The next devices of a drawn part, in the order of names.
pub(super) async fn slice(
    shell: &Shell,
    facts: &JobFacts,
    (matching, count): (u64, u64),
    last: Last,
    cursor: Cursor,
) -> Result<Slice, CommandError> {
    let job = facts.job.no;
    let after = cursor.after.as_deref().and_then(|after| DeviceName::parse(after).ok());
    let limit = look(matching, count);
    let rows = shell.deps.store.scan_drawn(job, after.as_ref(), limit).await?;
    let to = Cursor {
        offset: cursor.offset + rows.len() as u64,
        slice: 0,
        after: rows.last().map(|row| row.name.as_str().to_owned()).or_else(|| cursor.after.clone()),
    };
    let mut slice = empty_slice(job, cursor, to, rows.len() < limit);
    let scope = scope_of(facts);
    for row in rows {
        let device = row.candidate.device;
        let is_in = scope.takes(row.version_then.as_ref()) && last.takes(job, device);
        if !is_in || row.gone {
            continue;
        }
        slice.lines += 1;
        let version = row.candidate.version;
        if version.as_ref().is_some_and(|version| *version == facts.firmware.new.dest_version) {
            // It got there by itself since then.
            slice.skipped.push(device);
        } else {
            slice.tasks.push(NewTask { device, src_version: version });
        }
    }
    Ok(sorted(slice))
}

/// Devices to look at so that about a slice's worth of them is in.
fn look(matching: u64, count: u64) -> usize {
    let wanted = LOOK_MIN as u64 * matching / count.max(1);
    usize::try_from(wanted).unwrap_or(LOOK).clamp(LOOK_MIN, LOOK)
}
