//! Chance: public ids, secrets and nonces.

use std::sync::atomic::{AtomicU64, Ordering};

/// Draws unguessable bytes.
pub trait Ids: Send + Sync {
    /// Fills `bytes` with fresh chance.
    fn fill(&self, bytes: &mut [u8]);

    /// A fresh text of `length` letters and digits, for public ids. 22 of them hold 128 bits.
    fn text(&self, length: usize) -> String {
        const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let mut text = String::with_capacity(length);
        while text.len() < length {
            let mut bytes = [0; 32];
            self.fill(&mut bytes);
            // 248 = 4 * 62: taking only what lies below keeps all letters equally likely.
            let fair = bytes.into_iter().filter(|byte| *byte < 248);
            text.extend(
                fair.map(|byte| char::from(ALPHABET[usize::from(byte % 62)])).take(length - text.len()),
            );
        }
        text
    }
}

/// Counts instead of drawing: the same ids in every run.
#[derive(Debug, Default)]
pub struct CountingIds(AtomicU64);

impl Ids for CountingIds {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let n = self.0.fetch_add(1, Ordering::SeqCst).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            chunk.copy_from_slice(&n.to_le_bytes()[..chunk.len()]);
        }
    }
}

/// Holds for every [`Ids`].
pub mod contract {
    use std::collections::BTreeSet;

    use super::Ids;

    /// What is drawn does not come again, and fills all that was asked for.
    pub fn nothing_is_drawn_twice(ids: &dyn Ids) {
        let mut drawn = BTreeSet::new();
        for _ in 0..1_000 {
            let mut bytes = [0; 32];
            ids.fill(&mut bytes);
            // Each part by itself: a filler that stops early would leave zeros.
            assert!(bytes.chunks(8).all(|part| part != [0; 8]));
            assert!(drawn.insert(bytes));
        }
    }

    /// Texts have the wanted length, differ, and can stand in a URL and a topic.
    pub fn texts_are_plain_and_differ(ids: &dyn Ids) {
        let texts: BTreeSet<String> = (0..1_000).map(|_| ids.text(22)).collect();
        assert_eq!(texts.len(), 1_000);
        assert!(texts.iter().all(|text| text.len() == 22 && text.bytes().all(|c| c.is_ascii_alphanumeric())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_keeps_the_contract() {
        contract::nothing_is_drawn_twice(&CountingIds::default());
        contract::texts_are_plain_and_differ(&CountingIds::default());
    }
}
