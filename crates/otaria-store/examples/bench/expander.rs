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
        let parts: Vec<_> = sorted.chunks(slice()).collect();
        for (i, part) in parts.iter().enumerate() {
            let names: Vec<DeviceName> = part.iter().map(|(_, name)| name.clone()).collect();
            let begun = Instant::now();
            let module = ModuleName::default_module();
            let found = store.resolve(product.no, self.job.upto, &module, &names).await.unwrap();
            self.resolving += begun.elapsed();

            let mut slice = Slice {
                job: self.job.no,
                from: self.cursor.clone(),
                to: Cursor { offset, slice: i as u32 + 1, after: None },
                complete: false,
                lines: part.len() as u64 + std::mem::take(&mut twice),
                tasks: Vec::new(),
                skipped: Vec::new(),
                rejected: Rejections::default(),
                rejects: Vec::new(),
            };
            slice.rejected.duplicate = slice.lines - part.len() as u64;
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
            let begun = Instant::now();
            let outcome = store.expand(&slice, at(4)).await.unwrap();
            self.expanding += begun.elapsed();
            self.slowest = self.slowest.max(begun.elapsed());
            self.cursor = slice.to;
            self.expansion = outcome.expansion;
        }
    }
}
