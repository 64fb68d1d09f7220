//! Chance that costs no state: the n-th number of a device is a function of the seed, the device and n.

/// A number of 64 bits that looks random and is the same for the same arguments (splitmix64 of both).
pub(crate) fn draw(seed: u64, stream: u64, n: u64) -> u64 {
    mix(mix(seed ^ mix(stream)).wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

/// The same, uniform in `0..=most`.
pub(crate) fn draw_upto(seed: u64, stream: u64, n: u64, most: u64) -> u64 {
    let wide = u128::from(draw(seed, stream, n)) * (u128::from(most) + 1);
    u64::try_from(wide >> 64).unwrap_or(most)
}

fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_repeat_and_stay_in_their_range() {
        let mut seen = [0_u32; 5];
        for n in 0..5_000 {
            assert_eq!(draw(7, 1, n), draw(7, 1, n));
            seen[usize::try_from(draw_upto(7, 1, n, 4)).unwrap()] += 1;
        }
        assert!(seen.iter().all(|count| (800..1_200).contains(count)), "{seen:?}");
        assert_eq!(draw_upto(7, 1, 1, 0), 0);
        assert_ne!(draw(7, 1, 1), draw(7, 2, 1));
        assert_ne!(draw(7, 1, 1), draw(8, 1, 1));
    }
}
