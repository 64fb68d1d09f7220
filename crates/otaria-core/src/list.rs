//! Reads a file of device names, piece by piece, in bounded memory.
//!
//! Never does IO: pieces of the file come in, lines go out. Never keeps more than one name, whatever the
//! file holds: a line of 10 MB is skipped to its end.
//!
//! A line is what is not blank after trimming; lines end at LF or comma (as old files have it), the last one
//! at the end of the file. A byte order mark counts only at the beginning of the file.
//!
//! Invariant: lines do not depend on how the file is cut into pieces, and a reader that begins at the
//! [`end`](Line::end) of a line yields exactly the lines after it.

/// Names in a file at most, unless an operator says otherwise.
pub const DEFAULT_MAX_LINES: u64 = 1_000_000;

/// Bytes of a file at most, unless an operator says otherwise: a million of the longest names with CRLF is
/// 34 MB, and twice that leaves room for blanks.
pub const DEFAULT_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// A longer line is malformed, and not looked at any further. Twice the longest device name.
pub const LINE_MAX_BYTES: usize = 64;

/// Characters of a malformed line that are shown.
pub const SAMPLE_MAX_CHARS: usize = 32;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// How large a file may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListLimits {
    /// Lines at most; blank ones do not count.
    pub max_lines: u64,
    /// Bytes at most.
    pub max_bytes: u64,
}

impl Default for ListLimits {
    fn default() -> Self {
        Self { max_lines: DEFAULT_MAX_LINES, max_bytes: DEFAULT_MAX_BYTES }
    }
}

/// Why a file is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    /// It has more lines than allowed.
    #[error("the device list has more than {max} lines")]
    Lines {
        /// What is allowed.
        max: u64,
    },
    /// It has more bytes than allowed.
    #[error("the device list has more than {max} bytes")]
    Bytes {
        /// What is allowed.
        max: u64,
    },
}

impl ListLimits {
    /// Checks what has been read so far.
    ///
    /// # Errors
    /// Says which limit is exceeded.
    pub const fn check(&self, lines: u64, bytes: u64) -> Result<(), TooLarge> {
        if bytes > self.max_bytes {
            return Err(TooLarge::Bytes { max: self.max_bytes });
        }
        if lines > self.max_lines {
            return Err(TooLarge::Lines { max: self.max_lines });
        }
        Ok(())
    }
}

/// One line that is not blank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// What it holds: the text of a well-formed [`DeviceName`](crate::ids::DeviceName), or what is wrong with it.
    pub name: Result<&'a str, Malformed<'a>>,
    /// The offset in the file behind the line and what ends it. A reader may begin here.
    pub end: u64,
}

/// A line that is no device name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed<'a> {
    /// What is wrong.
    pub fault: Fault,
    /// The trimmed line, at most its first [`LINE_MAX_BYTES`].
    beginning: &'a [u8],
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Longer than [`LINE_MAX_BYTES`].
    TooLong,
    /// Not text.
    NotUtf8,
    /// Text, but not a device name.
    NotAName,
}

impl Fault {
    /// The word in reject files and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::NotUtf8 => "not_utf8",
            Self::NotAName => "not_a_device_name",
        }
    }
}

impl Malformed<'_> {
    /// The beginning of the line for people: at most [`SAMPLE_MAX_CHARS`] characters, none of which moves a
    /// cursor or ends a line, and an ellipsis where something is missing.
    #[must_use]
    pub fn sample(&self) -> String {
        let text = String::from_utf8_lossy(self.beginning);
        let shown = text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c });
        let mut sample: String = shown.take(SAMPLE_MAX_CHARS).collect();
        if self.fault == Fault::TooLong || text.chars().nth(SAMPLE_MAX_CHARS).is_some() {
            sample.push('…');
        }
        sample
    }
}

/// Where a reader stands in a byte order mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bom {
    /// So many bytes of one have been seen, and nothing else.
    Seen(usize),
    /// The file's beginning is past.
    Past,
}

/// Reads one file. See the module for what it takes for a line.
#[derive(Clone, Debug)]
pub struct ListReader {
    /// Bytes taken so far, from the beginning of the file.
    offset: u64,
    bom: Bom,
    part: Part,
}

/// The line that has begun in a piece and goes on in the next: its beginning, blanks before it left out.
#[derive(Clone, Debug)]
struct Part {
    bytes: [u8; LINE_MAX_BYTES],
    /// How many bytes there are, those that did not fit among them.
    len: u64,
    /// The same up to the last byte that is not blank.
    trimmed_len: u64,
}

impl Part {
    const EMPTY: Self = Self { bytes: [0; LINE_MAX_BYTES], len: 0, trimmed_len: 0 };

    fn extend(&mut self, piece: &[u8]) {
        let piece = if self.len == 0 { piece.trim_ascii_start() } else { piece };
        if let Some(filled) = usize::try_from(self.len).ok().filter(|len| *len < LINE_MAX_BYTES) {
            let fits = piece.len().min(LINE_MAX_BYTES - filled);
            self.bytes[filled..filled + fits].copy_from_slice(&piece[..fits]);
        }
        let trimmed = piece.trim_ascii_end().len();
        if trimmed > 0 {
            self.trimmed_len = self.len + trimmed as u64;
        }
        self.len += piece.len() as u64;
    }
}

impl Default for ListReader {
    fn default() -> Self {
        Self::new()
    }
}

impl ListReader {
    /// A reader at the beginning of a file.
    #[must_use]
    pub const fn new() -> Self {
        Self { offset: 0, bom: Bom::Seen(0), part: Part::EMPTY }
    }

    /// A reader that begins at the [`end`](Line::end) of a line, or at 0.
    #[must_use]
    pub const fn resume_at(offset: u64) -> Self {
        let bom = if offset == 0 { Bom::Seen(0) } else { Bom::Past };
        Self { offset, bom, part: Part::EMPTY }
    }

    /// How far the file has been taken: the offset of the next piece.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Takes the next line off the front of `piece`; `None` when the piece is used up.
    ///
    /// A line that does not end in the piece is kept and goes on in the next one, or in
    /// [`ListReader::finish`].
    pub fn next_line<'s, 'p: 's>(&'s mut self, piece: &mut &'p [u8]) -> Option<Line<'s>> {
        if self.bom != Bom::Past {
            self.take_bom(piece);
        }
        if self.part.len > 0 {
            let at = self.take_until_separator(piece)?;
            self.part.extend(at);
            if self.part.trimmed_len > 0 {
                return Some(self.end_part());
            }
            self.part = Part::EMPTY;
        }
        loop {
            let whole = self.take_until_separator(piece)?.trim_ascii();
            if !whole.is_empty() {
                let beginning = &whole[..whole.len().min(LINE_MAX_BYTES)];
                return Some(Line { name: name_of(beginning, whole.len() as u64), end: self.offset });
            }
        }
    }

    /// Takes a whole piece and hands each line that ends in it to `each`.
    pub fn push(&mut self, mut piece: &[u8], mut each: impl FnMut(Line<'_>)) {
        while let Some(line) = self.next_line(&mut piece) {
            each(line);
        }
    }

    /// Ends the file: the last line, when no separator follows it.
    pub fn finish(&mut self) -> Option<Line<'_>> {
        if let Bom::Seen(seen) = self.bom {
            self.bom = Bom::Past;
            self.part.extend(&BOM[..seen]);
        }
        if self.part.trimmed_len == 0 {
            return None;
        }
        Some(self.end_part())
    }

    /// Takes the bytes up to the next separator, and the separator. When there is none, keeps all of them.
    fn take_until_separator<'p>(&mut self, piece: &mut &'p [u8]) -> Option<&'p [u8]> {
        match piece.iter().position(|byte| matches!(byte, b'\n' | b',')) {
            Some(at) => {
                let (line, rest) = (&piece[..at], &piece[at + 1..]);
                *piece = rest;
                self.offset += at as u64 + 1;
                Some(line)
            }
            None => {
                self.part.extend(piece);
                self.offset += piece.len() as u64;
                *piece = &[];
                None
            }
        }
    }

    /// Takes the byte order mark, or so much of it as the piece holds. What only began like one is text.
    fn take_bom(&mut self, piece: &mut &[u8]) {
        while let (Bom::Seen(seen), Some((first, rest))) = (self.bom, piece.split_first()) {
            if *first != BOM[seen] {
                self.bom = Bom::Past;
                self.part.extend(&BOM[..seen]);
                return;
            }
            *piece = rest;
            self.offset += 1;
            self.bom = if seen + 1 == BOM.len() { Bom::Past } else { Bom::Seen(seen + 1) };
        }
    }

    /// The kept line as one that ends here, and an empty place for the next.
    fn end_part(&mut self) -> Line<'_> {
        let len = self.part.trimmed_len;
        (self.part.len, self.part.trimmed_len) = (0, 0);
        let kept = usize::try_from(len).unwrap_or(LINE_MAX_BYTES).min(LINE_MAX_BYTES);
        Line { name: name_of(&self.part.bytes[..kept], len), end: self.offset }
    }
}

/// What a trimmed line of `len` bytes holds that begins with `beginning`.
fn name_of(beginning: &[u8], len: u64) -> Result<&str, Malformed<'_>> {
    let malformed = |fault| Err(Malformed { fault, beginning });
    if len > LINE_MAX_BYTES as u64 {
        return malformed(Fault::TooLong);
    }
    match std::str::from_utf8(beginning) {
        Ok(text) if is_device_name(text) => Ok(text),
        Ok(_) => malformed(Fault::NotAName),
        Err(_) => malformed(Fault::NotUtf8),
    }
}

/// The bytes of a device name. A table, since a million lines are checked byte by byte.
const NAME_BYTES: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], 0_u8);
    while byte < 128 {
        table[byte as usize] =
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'@' | b'.' | b':');
        byte += 1;
    }
    table
};

/// Whether [`DeviceName::parse`](crate::ids::DeviceName::parse) takes it, without making one.
fn is_device_name(text: &str) -> bool {
    (4..=32).contains(&text.len()) && text.bytes().all(|byte| NAME_BYTES[usize::from(byte)])
}

#[cfg(test)]
mod tests;
