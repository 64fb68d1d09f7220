//! A file of device names, in pieces of every size.

use otaria_core::ids::DeviceName;
use otaria_core::list::{Fault, LINE_MAX_BYTES, Line, ListReader, SAMPLE_MAX_CHARS};

/// Sizes of the pieces that a file is cut into: the smallest, odd ones, and around the longest line.
const PIECES: [usize; 7] = [1, 2, 3, 7, LINE_MAX_BYTES - 1, LINE_MAX_BYTES + 1, 200];
/// Lines at whose end a second reader begins.
const RESUMED: usize = 12;

/// A name or what is wrong, and where the next line begins.
type Read = (Result<String, (Fault, String)>, usize);

pub(crate) fn run(file: &[u8]) {
    let whole = read(file, 0, file.len().max(1));
    let plain = plainly(file);
    assert_eq!(whole.len(), plain.len(), "lines");
    for ((name, end), (wanted, wanted_end)) in whole.iter().zip(&plain) {
        let name = name.as_ref().map(String::as_str).map_err(|(fault, _)| *fault);
        assert_eq!((name, end), (wanted.as_deref().map_err(|fault| *fault), wanted_end));
    }
    for (_, sample) in whole.iter().filter_map(|(name, _)| name.as_ref().err()) {
        assert!((1..=SAMPLE_MAX_CHARS + 1).contains(&sample.chars().count()));
        assert!(!sample.contains(char::is_control));
    }

    for size in PIECES {
        assert_eq!(read(file, 0, size), whole, "in pieces of {size}");
    }
    let step = whole.len().div_ceil(RESUMED).max(1);
    for (at, (_, end)) in whole.iter().enumerate().step_by(step) {
        assert_eq!(read(file, *end, 5), whole[at + 1..], "from {end} on");
    }
}

/// The lines from `offset` on, of a file that comes in pieces of this size.
fn read(file: &[u8], offset: usize, size: usize) -> Vec<Read> {
    let mut reader = ListReader::resume_at(offset as u64);
    let mut lines = Vec::new();
    for piece in file[offset..].chunks(size) {
        reader.push(piece, |line| lines.push(kept(line)));
    }
    assert_eq!(reader.offset(), file.len() as u64);
    lines.extend(reader.finish().map(kept));
    assert!(reader.finish().is_none(), "a file ends twice");
    lines
}

fn kept(line: Line<'_>) -> Read {
    let name = line.name.map(str::to_owned).map_err(|bad| (bad.fault, bad.sample()));
    (name, usize::try_from(line.end).expect("a short file"))
}

/// The same, read in one go by the words of the rule.
fn plainly(file: &[u8]) -> Vec<(Result<String, Fault>, usize)> {
    let mut end = 0;
    let mut lines = Vec::new();
    for line in file.split(|byte| matches!(byte, b'\n' | b',')) {
        let line_of_text = if end == 0 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
        // The last line has no separator behind it.
        end = (end + line.len() + 1).min(file.len());
        let line = line_of_text.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let name = match std::str::from_utf8(line) {
            _ if line.len() > LINE_MAX_BYTES => Err(Fault::TooLong),
            Err(_) => Err(Fault::NotUtf8),
            Ok(text) => match DeviceName::parse(text) {
                Ok(name) => Ok(name.as_str().to_owned()),
                Err(_) => Err(Fault::NotAName),
            },
        };
        lines.push((name, end));
    }
    lines
}
