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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_the_wanted_length_and_differ() {
        let ids = CountingIds::default();
        let (a, b) = (ids.text(22), ids.text(22));
        assert_eq!((a.len(), b.len()), (22, 22));
        assert_ne!(a, b);
        assert!(a.bytes().all(|c| c.is_ascii_alphanumeric()));
    }
}
