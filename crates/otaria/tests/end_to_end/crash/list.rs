//! A list file as people make them: Windows line ends, blank lines, names that are wrong, unknown, or there
//! twice; and what it must come to.

use super::cast::Cast;
use super::killer::Dice;

const DUPLICATES: usize = 400;
const UNKNOWN: usize = 250;
const MALFORMED: usize = 150;
const BLANK: usize = 300;

/// The file, and the one right count of each kind.
pub(super) struct List {
    pub(super) bytes: Vec<u8>,
    pub(super) lines: i64,
    pub(super) duplicates: i64,
    pub(super) unknown: i64,
    pub(super) malformed: i64,
}

impl List {
    /// Every name of the cast in a drawn order, and what else is in such files.
    pub(super) fn write(cast: &Cast, dice: &mut Dice) -> Self {
        let mut lines: Vec<Vec<u8>> = cast.names.iter().map(|name| name.clone().into_bytes()).collect();
        for _ in 0..DUPLICATES {
            let name = cast.names[dice.place(cast.names.len())].clone();
            lines.push(name.into_bytes());
        }
        lines.extend((0..UNKNOWN).map(|n| format!("ghost-{n:04}").into_bytes()));
        lines.extend((0..MALFORMED).map(|n| match n % 3 {
            0 => format!("no name {n}").into_bytes(),
            1 => "x".repeat(33 + n).into_bytes(),
            _ => [b"bin\xff\xfe".as_slice(), n.to_string().as_bytes()].concat(),
        }));
        let count = lines.len();
        lines.extend((0..BLANK).map(|n| [&b""[..], b"  ", b"\t"][n % 3].to_vec()));
        dice.shuffle(&mut lines);

        let mut bytes = b"\xef\xbb\xbf".to_vec();
        for (n, line) in lines.iter().enumerate() {
            bytes.extend(line);
            bytes.extend(if n % 5 == 0 { &b" \n"[..] } else { b"\r\n" });
        }
        let of = |count: usize| i64::try_from(count).unwrap();
        Self {
            bytes,
            lines: of(count),
            duplicates: of(DUPLICATES),
            unknown: of(UNKNOWN),
            malformed: of(MALFORMED),
        }
    }

    pub(super) fn rejected(&self) -> i64 {
        self.duplicates + self.unknown + self.malformed
    }
}
