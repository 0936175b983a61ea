//! Numbers that look random and follow from a seed: the same on every machine, so that a simulation can be told by its seed.

/// A generator (SplitMix64): tiny, and good enough to shuffle lists and to spread durations.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// All numbers follow from the seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `sides`; 0 where there are none.
    pub fn roll(&mut self, sides: u64) -> u64 {
        // The high half of the product is as even as 64 bits can make it.
        u64::try_from((u128::from(self.next_u64()) * u128::from(sides)) >> 64).unwrap_or(0)
    }

    /// `value` made up to so many thousandths shorter or longer.
    pub fn spread(&mut self, value: u64, thousandths: u64) -> u64 {
        let most = thousandths.min(1000);
        let factor = 1000 - most + self.roll(2 * most + 1);
        scaled(value, factor)
    }
}

/// `value * thousandths / 1000`, as much of it as fits.
fn scaled(value: u64, thousandths: u64) -> u64 {
    u64::try_from(u128::from(value) * u128::from(thousandths) / 1000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_within_their_bounds() {
        let (mut one, mut two) = (Dice::new(7), Dice::new(7));
        for _ in 0..1000 {
            let rolled = one.roll(6);
            assert!(rolled < 6 && rolled == two.roll(6));
            let spread = one.spread(1000, 300);
            assert!((700..=1300).contains(&spread) && spread == two.spread(1000, 300));
        }
        assert_eq!(one.roll(0), 0);
        assert_eq!(Dice::new(1).spread(u64::MAX, 0), u64::MAX);
    }
}
