//! Random choices that a seed repeats.

use std::ops::Range;
use std::time::Duration;

/// A generator of random numbers: SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The generator of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator of its own for somebody, so that nobody's choices depend on how many others have made.
    #[must_use]
    pub fn of(seed: u64, whose: &str) -> Self {
        let mut random = Self(seed);
        for byte in whose.bytes() {
            random.0 ^= u64::from(byte);
            random.number();
        }
        random
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number of the range, which is not empty.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.number() % (range.end - range.start)
    }

    /// A position in a list of that length, which is not 0.
    pub fn place(&mut self, length: usize) -> usize {
        let length = u64::try_from(length).unwrap();
        usize::try_from(self.within(0..length)).unwrap()
    }

    /// Whether something happens that does in so many cases of a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.within(0..100) < percent
    }

    /// A time of so many milliseconds.
    pub fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.within(range))
    }

    /// Puts a list into any order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.place(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_algorithm() {
        // The first numbers of seed 1234567, as the reference implementation gives them.
        let mut random = Random::new(1_234_567);
        let first = [random.number(), random.number()];
        assert_eq!(
            first,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]
        );
    }

    #[test]
    fn a_seed_repeats_everybodys_choices_and_each_has_their_own() {
        let choices = |seed, whose| {
            let mut random = Random::of(seed, whose);
            (0..8).map(|_| random.within(0..1_000)).collect::<Vec<_>>()
        };
        assert_eq!(choices(7, "writer 1"), choices(7, "writer 1"));
        assert_ne!(choices(7, "writer 1"), choices(7, "writer 2"));
        assert_ne!(choices(7, "writer 1"), choices(8, "writer 1"));
    }

    #[test]
    fn shuffling_loses_nothing() {
        let mut list: Vec<u32> = (0..20).collect();
        Random::new(3).shuffle(&mut list);
        assert!(!list.is_sorted());
        list.sort_unstable();
        assert_eq!(list, (0..20).collect::<Vec<_>>());
    }
}
