//! Reads a list in chunks and writes them in slices, as the engine does.

use std::time::{Duration, Instant};

use otaria_core::ids::{DeviceName, ModuleName};
use otaria_core::shard::Shard;
use otaria_ports::store::*;

use crate::{Bench, at};

/// Distinct names of a chunk of the list.
/// Also from the variable `CHUNK`.
pub(crate) fn chunk() -> usize {
    std::env::var("CHUNK").ok().and_then(|n| n.parse().ok()).unwrap_or(65_536)
}

/// Also from the variable `SLICE`.
fn slice() -> usize {
    std::env::var("SLICE").ok().and_then(|n| n.parse().ok()).unwrap_or(5_000)
}

pub(crate) struct Expander<'b> {
    bench: &'b Bench,
    job: Job,
    cursor: Cursor,
    pub(crate) expansion: Expansion,
    pub(crate) resolving: Duration,
    pub(crate) expanding: Duration,
    pub(crate) slowest: Duration,
}

impl<'b> Expander<'b> {
    pub(crate) fn new(bench: &'b Bench, job: Job) -> Self {
        Self {
            bench,
            job,
            cursor: Cursor::default(),
            expansion: Expansion::default(),
            resolving: Duration::ZERO,
            expanding: Duration::ZERO,
            slowest: Duration::ZERO,
        }
    }

    pub(crate) async fn chunk(&mut self, names: Vec<DeviceName>) {
        let Bench { store, product, .. } = self.bench;
        let total = names.len() as u64;
        let mut sorted: Vec<(Shard, DeviceName)> =
            names.into_iter().map(|name| (Shard::of(&product.new.key, &name), name)).collect();
        sorted.sort_unstable();
        sorted.dedup();
        let mut twice = total - sorted.len() as u64;
        let offset = self.cursor.offset;
        let parts: Vec<Vec<DeviceName>> =
            sorted.chunks(slice()).map(|part| part.iter().map(|(_, name)| name.clone()).collect()).collect();
        let module = ModuleName::default_module();
        let resolve = async |names: &[DeviceName]| {
            let begun = Instant::now();
            let found = store.resolve(product.no, self.job.upto, &module, names).await.unwrap();
            (found, begun.elapsed())
        };
        let mut ahead = match parts.first() {
            Some(first) => Some(resolve(first).await),
            None => None,
        };
        for (i, names) in parts.iter().enumerate() {
            let Some((found, resolving)) = ahead.take() else { break };
            self.resolving += resolving;
            let mut slice = Slice {
                job: self.job.no,
                from: self.cursor.clone(),
                to: Cursor { offset, slice: i as u32 + 1, after: None },
                complete: false,
                lines: names.len() as u64 + std::mem::take(&mut twice),
                tasks: Vec::new(),
                skipped: Vec::new(),
                rejected: Rejections::default(),
                rejects: Vec::new(),
            };
            slice.rejected.duplicate = slice.lines - names.len() as u64;
            if i + 1 == parts.len() {
                slice.to = Cursor { offset: offset + total, slice: 0, after: None };
            }
            for (name, candidate) in names.iter().zip(found) {
                match candidate {
                    None => {
                        slice.rejected.unknown += 1;
                        let line = RejectedLine { text: name.to_string(), cause: RejectCause::Unknown };
                        slice.rejects.push(line);
                    }
                    Some(c)
                        if c.version.as_ref().is_some_and(|v| *v == self.bench.firmware.new.dest_version) =>
                    {
                        slice.skipped.push(c.device);
                    }
                    Some(c) => slice.tasks.push(NewTask { device: c.device, src_version: c.version }),
                }
            }
            slice.tasks.sort_unstable_by_key(|task| task.device);
            slice.skipped.sort_unstable();
            // The next slice is resolved while this one is written.
            let write = async {
                let begun = Instant::now();
                (store.expand(&slice, at(4)).await.unwrap(), begun.elapsed())
            };
            let look = async {
                match parts.get(i + 1) {
                    Some(next) => Some(resolve(next).await),
                    None => None,
                }
            };
            let (written, next) = futures_util::future::join(write, look).await;
            let (outcome, spent) = written;
            ahead = next;
            self.expanding += spent;
            self.slowest = self.slowest.max(spent);
            self.cursor = slice.to;
            self.expansion = outcome.expansion;
        }
    }
}
