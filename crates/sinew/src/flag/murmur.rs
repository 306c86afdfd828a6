//! `MurmurHash3_x86_32`, fed in parts, and the buckets that are made of it: whoever else computes them so
//! puts everyone into the same.

/// So many buckets there are: one for each thousandth of a percent.
pub(super) const BUCKETS: u32 = 100_000;

const C1: u32 = 0xcc9e_2d51;
const C2: u32 = 0x1b87_3593;

/// A hash under way. A copy goes on by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Murmur {
    hash: u32,
    /// The bytes that fill no block yet, the first the lowest; there are `len` modulo 4 of them.
    tail: u32,
    /// Of all that was written, modulo 2^32.
    len: u32,
}

impl Murmur {
    pub(super) fn new(seed: u32) -> Self {
        Self { hash: seed, tail: 0, len: 0 }
    }

    /// As if `part` had been written right behind what was written before.
    #[must_use]
    pub(super) fn with(mut self, part: &[u8]) -> Self {
        let missing = (4 - self.len % 4) % 4;
        let head_len = part.len().min(missing as usize);
        let (head, rest) = part.split_at(head_len);
        let (blocks, tail) = rest.as_chunks::<4>();
        for byte in head {
            self.push(*byte);
        }
        for block in blocks {
            self.mix(u32::from_le_bytes(*block));
            self.len = self.len.wrapping_add(4);
        }
        for byte in tail {
            self.push(*byte);
        }
        self
    }

    /// In which of the [`BUCKETS`] this is.
    pub(super) fn bucket(self) -> u32 {
        let scaled = (u64::from(self.finish()) * u64::from(BUCKETS)) >> 32;
        u32::try_from(scaled).unwrap_or(BUCKETS - 1)
    }

    fn finish(self) -> u32 {
        let mut hash = self.hash ^ scrambled(self.tail) ^ self.len;
        hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
        hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
        hash ^ (hash >> 16)
    }

    fn push(&mut self, byte: u8) {
        self.tail |= u32::from(byte) << (8 * (self.len % 4));
        self.len = self.len.wrapping_add(1);
        if self.len.is_multiple_of(4) {
            self.mix(self.tail);
            self.tail = 0;
        }
    }

    fn mix(&mut self, block: u32) {
        let hash = (self.hash ^ scrambled(block)).rotate_left(13);
        self.hash = hash.wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
}

fn scrambled(block: u32) -> u32 {
    block.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hash(text: impl AsRef<[u8]>, seed: u32) -> u32 {
        Murmur::new(seed).with(text.as_ref()).finish()
    }

    #[test]
    fn the_hash_is_that_of_the_published_vectors() {
        for (text, seed, expected) in [
            ("", 0, 0),
            ("", 1, 0x514e_28b7),
            ("", u32::MAX, 0x81f1_6f39),
            ("test", 0, 0xba6b_d213),
            ("Hello, world!", 0, 0xc036_3e43),
            ("The quick brown fox jumps over the lazy dog", 0, 0x2e4f_f723),
            // Where the hash is at the ends and in the middle.
            ("ejOoVL", 0, 0),
            ("bY9fO-", 0, 1),
            ("SI7p-", 0, 0x7fff_ffff),
            ("6LvT0", 0, 0x8000_0000),
            ("ceQdGm", 0, u32::MAX),
        ] {
            assert_eq!(hash(text, seed), expected, "{text:?}, {seed}");
        }
    }

    #[test]
    fn the_hash_passes_the_reference_suites_verification() {
        let bytes: Vec<u8> = (0..=255).collect();
        let hashes: Vec<u8> = (0_u32..256)
            .zip(0_usize..)
            .flat_map(|(seed, len)| hash(&bytes[..len], 256 - seed).to_le_bytes())
            .collect();
        assert_eq!(hash(hashes, 0), 0xb0f5_7ee3);
    }

    #[test]
    fn buckets_begin_at_0_and_end_before_their_number() {
        for (text, bucket) in
            [("ejOoVL", 0), ("SI7p-", 49_999), ("6LvT0", 50_000), ("ceQdGm", 99_999)]
        {
            assert_eq!(Murmur::new(0).with(text.as_bytes()).bucket(), bucket, "{text}");
        }
    }

    #[test]
    fn a_tenth_of_a_million_users_is_within_a_thousandth_of_a_tenth() {
        let flag = Murmur::new(0).with(b"new-ui");
        let is_in =
            |user: &u32| flag.with(format!("user-{user}").as_bytes()).bucket() < BUCKETS / 10;
        let users = (0..1_000_000).filter(is_in).count();
        assert!((99_000..=101_000).contains(&users), "{users}");
    }

    proptest! {
        #[test]
        fn parts_hash_as_their_whole(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..6),
            seed in any::<u32>(),
        ) {
            let whole = hash(parts.concat(), seed);
            let parted = parts.iter().fold(Murmur::new(seed), |hash, part| hash.with(part));
            prop_assert_eq!(parted.finish(), whole);
        }
    }
}
