//! A chunk of a name list: its distinct names, sorted so that neighbours in the store are neighbours here.
//!
//! Invariant: what a chunk holds, and in which slices, depends only on the source, the cursor's offset and how the
//! store likes lists cut.
//! So a slice that was interrupted is made again exactly as it was.

use std::ops::Range;

use otaria_core::ids::{DeviceName, ProductKey};
use otaria_core::list::ListReader;
use otaria_core::shard::Shard;
use otaria_ports::store::{Candidate, RejectCause, RejectedLine, Rejections, Slicing};

/// Lines of the first chunk: as many as a create call promises to have expanded when it returns.
pub(super) const FIRST_CHUNK_LINES: usize = 1_000;

/// One name: where its text lies, and its shard. Twelve bytes.
#[derive(Clone, Copy, Debug)]
struct Entry {
    at: u32,
    len: u8,
    shard: Shard,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// Where it begins.
    pub(super) offset: u64,
    /// Where the next one begins.
    pub(super) end: u64,
    /// Whether the source is used up with it.
    pub(super) last: bool,
    /// Lines, well-formed or not.
    pub(super) lines: u64,
    /// Lines that it rejects by itself: malformed ones and second occurrences.
    pub(super) rejected: Rejections,
    /// Those lines.
    pub(super) rejects: Vec<RejectedLine>,
    /// What a slice's names come to, when that was looked up before its turn.
    pub(super) ahead: Option<(u32, Vec<Option<Candidate>>)>,
    slice_names: usize,
    text: String,
    entries: Vec<Entry>,
}

/// Gathers lines until there are enough.
#[derive(Debug)]
pub(super) struct ChunkBuilder {
    chunk: Chunk,
    want: usize,
}

impl ChunkBuilder {
    /// An empty chunk that begins at `offset`.
    #[must_use]
    pub(super) fn at(offset: u64, slicing: Slicing) -> Self {
        let want = if offset == 0 { FIRST_CHUNK_LINES } else { slicing.chunk_lines };
        let chunk = Chunk {
            offset,
            end: offset,
            last: false,
            lines: 0,
            rejected: Rejections::default(),
            rejects: Vec::new(),
            ahead: None,
            slice_names: slicing.slice_names,
            text: String::with_capacity(want * 16),
            entries: Vec::with_capacity(want),
        };
        Self { chunk, want }
    }

    /// Whether it has all its lines.
    #[must_use]
    pub(super) const fn is_full(&self) -> bool {
        self.chunk.lines >= self.want as u64
    }

    /// Takes lines out of a piece of the file until it is full.
    pub(super) fn take(&mut self, reader: &mut ListReader, mut piece: &[u8]) {
        while !self.is_full() {
            let Some(line) = reader.next_line(&mut piece) else { return };
            self.add(line.name.map_err(|bad| bad.sample()), line.end);
        }
    }

    /// Takes what stands behind the file's last separator.
    pub(super) fn finish(&mut self, reader: &mut ListReader) {
        if let Some(line) = reader.finish() {
            self.add(line.name.map_err(|bad| bad.sample()), line.end);
        }
    }

    /// Takes one line: a name, or what can be shown of a line that is none. `end` is where the next begins.
    pub(super) fn add(&mut self, line: Result<&str, String>, end: u64) {
        let chunk = &mut self.chunk;
        chunk.lines += 1;
        chunk.end = end;
        match line {
            Ok(name) => {
                // A chunk has fewer than a million names of at most 32 bytes.
                let at = u32::try_from(chunk.text.len()).unwrap_or(u32::MAX);
                let len = u8::try_from(name.len()).unwrap_or(u8::MAX);
                chunk.text.push_str(name);
                chunk.entries.push(Entry { at, len, shard: Shard(0) });
            }
            Err(sample) => {
                chunk.rejected.malformed += 1;
                chunk.rejects.push(RejectedLine { text: sample, cause: RejectCause::Malformed });
            }
        }
    }

    /// The chunk: names sorted by shard and name, each once. `last` says that the source has no more.
    #[must_use]
    pub(super) fn build(self, product: &ProductKey, last: bool) -> Chunk {
        let mut chunk = self.chunk;
        chunk.last = last;
        let text = std::mem::take(&mut chunk.text);
        let mut entries = std::mem::take(&mut chunk.entries);
        for entry in &mut entries {
            entry.shard = Shard::of_text(product.as_str(), entry.name(&text));
        }
        entries.sort_unstable_by(|a, b| (a.shard, a.name(&text), a.at).cmp(&(b.shard, b.name(&text), b.at)));
        let before = entries.len();
        let mut twice = Vec::new();
        entries.dedup_by(|later, first| {
            let same = later.name(&text) == first.name(&text);
            if same {
                twice.push(later.name(&text).to_owned());
            }
            same
        });
        chunk.rejected.duplicate += (before - entries.len()) as u64;
        chunk
            .rejects
            .extend(twice.into_iter().map(|text| RejectedLine { text, cause: RejectCause::Duplicate }));
        (chunk.text, chunk.entries) = (text, entries);
        chunk
    }
}

impl Entry {
    fn name<'t>(&self, text: &'t str) -> &'t str {
        let at = self.at as usize;
        &text[at..at + usize::from(self.len)]
    }
}

impl Chunk {
    /// How many slices it has; one at least, for its lines are to be accounted for.
    #[must_use]
    pub(super) fn slices(&self) -> u32 {
        u32::try_from(self.entries.len().div_ceil(self.slice_names)).unwrap_or(u32::MAX).max(1)
    }

    /// The names of a slice, sorted by shard.
    #[must_use]
    pub(super) fn names(&self, slice: u32) -> Vec<DeviceName> {
        let names = self.entries[self.range(slice)].iter();
        // The reader lets only device names through.
        names.filter_map(|entry| DeviceName::parse(entry.name(&self.text)).ok()).collect()
    }

    fn range(&self, slice: u32) -> Range<usize> {
        let from = (slice as usize).saturating_mul(self.slice_names).min(self.entries.len());
        from..(from + self.slice_names).min(self.entries.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk_of(file: &str, offset: u64) -> Chunk {
        let product = ProductKey::parse("a1product").unwrap();
        let mut builder = ChunkBuilder::at(offset, Slicing::default());
        let mut reader = ListReader::resume_at(offset);
        builder.take(&mut reader, &file.as_bytes()[usize::try_from(offset).unwrap()..]);
        let full = builder.is_full();
        if !full {
            builder.finish(&mut reader);
        }
        builder.build(&product, !full)
    }

    #[test]
    fn names_come_once_and_sorted_by_shard() {
        let chunk = chunk_of("dev_b\ndev_a\n\ndev_b\n?\n", 0);
        let names = chunk.names(0);
        assert_eq!(names.len(), 2);
        assert!(names.is_sorted_by_key(|name| Shard::of_text("a1product", name.as_str())));
        assert_eq!((chunk.lines, chunk.rejected.duplicate, chunk.rejected.malformed), (4, 1, 1));
        assert!(chunk.last);
    }

    #[test]
    fn chunks_follow_each_other_without_gap() {
        let file: String = (0..70_000).map(|n| format!("device-{n}\n")).collect();
        let (mut offset, mut lines, mut names) = (0, 0, 0);
        loop {
            let chunk = chunk_of(&file, offset);
            lines += chunk.lines;
            names += (0..chunk.slices()).map(|slice| chunk.names(slice).len()).sum::<usize>();
            offset = chunk.end;
            if chunk.last {
                break;
            }
        }
        assert_eq!((lines, names), (70_000, 70_000));
    }

    #[test]
    fn an_empty_source_has_one_empty_slice() {
        let chunk = chunk_of("\n\r\n", 0);
        assert_eq!((chunk.slices(), chunk.names(0).len(), chunk.lines), (1, 0, 0));
    }
}
