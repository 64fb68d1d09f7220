//! Which keys are taken. Keys are made by the house alone, so this is the second lock on the door: whatever
//! goes wrong above, no key leads out of the folder or to a file that is not an object.

use object_store::path::Path;

/// Bytes of the longest key. Each of its parts also has to be a file's name (at most 255 bytes on common
/// file systems), with room for the number that an unfinished upload carries.
pub const KEY_BYTES_MAX: usize = 512;
const PART_BYTES_MAX: usize = 200;

/// The place of an object, or `None` where a key breaks the alphabet of the port: letters, digits, `-`,
/// `_`, `.` and `/`, no part of which is empty or begins with a dot.
pub(crate) fn place(key: &str) -> Option<Path> {
    let plain = |part: &str| {
        (1..=PART_BYTES_MAX).contains(&part.len())
            && !part.starts_with('.')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    if key.len() > KEY_BYTES_MAX || !key.split('/').all(plain) {
        return None;
    }
    Path::parse(key).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_leads_elsewhere_is_no_place() {
        let long = "a/".repeat(300) + "a";
        let broad = "a".repeat(201);
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "a/../b",
            "a/..",
            "./a",
            "a//b",
            "a/",
            ".hidden",
            "a/.hidden",
            "a\\b",
            "a b",
            "a\0b",
            "a#1",
            "a%2e",
            "ü",
            "a\n",
            &long,
            &broad,
        ] {
            assert!(place(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn a_key_of_the_house_is_its_own_place() {
        for key in ["package/0f3a.bin", "list/2026-11-21_a.csv", "a", "a..b"] {
            assert_eq!(place(key).unwrap().as_ref(), key);
        }
    }
}
