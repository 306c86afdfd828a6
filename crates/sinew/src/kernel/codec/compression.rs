//! Making payloads smaller, and never larger than allowed on the way back.

use super::Codec;
use super::coding::Algorithm;
use crate::kernel::error::{Error, Result};

/// Below this, what compression saves is not worth its time.
const ABOVE_DEFAULT: usize = 1_024;

/// How a cache compresses its values, and from which size on.
///
/// Where attackers choose a part of a value and see how long the whole becomes, they can guess
/// the rest of it: do not compress their input together with secrets, encrypted or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    algorithm: Algorithm,
    above: usize,
}

impl Compression {
    /// LZ4: the least time, and still much smaller where a value repeats itself.
    #[must_use]
    pub fn lz4() -> Self {
        Self { algorithm: Algorithm::Lz4, above: ABOVE_DEFAULT }
    }

    /// Zstandard at its default level: smaller than LZ4, for more of both sides' time.
    #[must_use]
    pub fn zstd() -> Self {
        Self { algorithm: Algorithm::Zstd, above: ABOVE_DEFAULT }
    }

    /// Leaves values of up to so many bytes as they are. 1,024 unless said.
    #[must_use]
    pub fn above(mut self, bytes: usize) -> Self {
        self.above = bytes;
        self
    }
}

impl Codec {
    pub(crate) fn with_compression(mut self, compression: Compression) -> Self {
        self.compression = Some(compression);
        self
    }

    pub(super) fn compresses(&self) -> bool {
        self.compression.is_some()
    }

    pub(super) fn compress(&self, plain: Vec<u8>) -> (Vec<u8>, Option<Algorithm>) {
        let Some(compression) = self.compression.filter(|c| plain.len() > c.above) else {
            return (plain, None);
        };
        let algorithm = compression.algorithm;
        match algorithm.compress(&plain) {
            Some(packed) if packed.len() < plain.len() => (packed, Some(algorithm)),
            // Nothing saved: nobody should pay for unpacking it.
            _ => (plain, None),
        }
    }

    pub(super) fn decompress(&self, packed: &[u8], algorithm: Algorithm) -> Result<Vec<u8>> {
        let len_max = self.value_len_max;
        algorithm.decompress(packed, len_max).ok_or_else(|| {
            Error::corrupt(format!("the payload does not decompress to at most {len_max} bytes"))
        })
    }
}

impl Algorithm {
    fn compress(self, plain: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Lz4 => Some(lz4_flex::block::compress_prepend_size(plain)),
            Self::Zstd => zstd::bulk::compress(plain, zstd::DEFAULT_COMPRESSION_LEVEL).ok(),
        }
    }

    /// Both formats say how long the result is. That is checked before memory is set aside, and
    /// held against what comes out: a few hostile bytes cannot become gigabytes.
    fn decompress(self, packed: &[u8], len_max: usize) -> Option<Vec<u8>> {
        match self {
            Self::Lz4 => {
                let (len, block) = lz4_flex::block::uncompressed_size(packed).ok()?;
                if len > len_max {
                    return None;
                }
                let plain = lz4_flex::block::decompress(block, len).ok()?;
                (plain.len() == len).then_some(plain)
            }
            // In one piece: the stream decoder would set aside whatever window a frame asks for.
            Self::Zstd => {
                let len = zstd::bulk::Decompressor::upper_bound(packed)?;
                if len > len_max {
                    return None;
                }
                zstd::bulk::decompress(packed, len).ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::codec::Format;

    const MIB: usize = 1 << 20;

    /// A block of lz4 that unpacks to a little over 100 MiB of zeros.
    fn lz4_zeros(said_len: u32) -> Vec<u8> {
        let mut bomb = said_len.to_le_bytes().to_vec();
        // One literal zero, then a match of it that is 255 bytes longer with each byte.
        bomb.extend([0x1F, 0, 1, 0]);
        bomb.extend(vec![0xFF; 100 * MIB / 255 + 1]);
        // Ends the match, then five literals end the block.
        bomb.extend([0, 0x50, 0, 0, 0, 0, 0]);
        bomb
    }

    /// A frame of zstd that unpacks to 100 MiB of zeros, and does not say so.
    fn zstd_zeros_of_unsaid_length() -> Vec<u8> {
        let mut bomb = vec![0x28, 0xB5, 0x2F, 0xFD, 0x00, 0x38];
        // 128 KiB of one byte each: a header of three bytes, and the byte.
        let blocks = 800;
        for block in 1..=blocks {
            let last = u8::from(block == blocks);
            bomb.extend([0x02 | last, 0x00, 0x10, 0x00]);
        }
        bomb
    }

    #[test]
    fn a_bomb_is_refused() {
        let said = u32::try_from(100 * MIB).unwrap();
        let lie = u32::try_from(MIB).unwrap();
        for bomb in [lz4_zeros(said), lz4_zeros(lie), lz4_zeros(0), lz4_zeros(u32::MAX)] {
            assert_eq!(Algorithm::Lz4.decompress(&bomb, MIB), None);
        }
        let zeros = Algorithm::Zstd.compress(&vec![0; 100 * MIB]).unwrap();
        assert!(zeros.len() < 100_000, "{}", zeros.len());
        for bomb in [zeros, zstd_zeros_of_unsaid_length()] {
            assert_eq!(Algorithm::Zstd.decompress(&bomb, MIB), None);
        }
    }

    #[test]
    fn frames_one_after_the_other_count_together() {
        let frame = Algorithm::Zstd.compress(&[7; 600]).unwrap();
        let two = [frame.as_slice(), frame.as_slice()].concat();
        assert_eq!(Algorithm::Zstd.decompress(&frame, 1_000), Some(vec![7; 600]));
        assert_eq!(Algorithm::Zstd.decompress(&two, 1_000), None);
    }

    #[test]
    fn the_limit_is_inclusive() {
        for algorithm in [Algorithm::Lz4, Algorithm::Zstd] {
            let packed = algorithm.compress(&[7; 2_000]).unwrap();
            assert_eq!(algorithm.decompress(&packed, 2_000), Some(vec![7; 2_000]));
            assert_eq!(algorithm.decompress(&packed, 1_999), None);
        }
    }

    #[test]
    fn what_is_small_or_does_not_get_smaller_is_left_alone() {
        for compression in [Compression::lz4(), Compression::zstd()] {
            let codec = Codec::new(Format::Json, MIB).with_compression(compression);
            assert_eq!(codec.compress(vec![7; 1_024]).1, None);
            assert_eq!(codec.compress(vec![7; 1_025]).1, Some(compression.algorithm));
            let tiny = Codec::new(Format::Json, MIB).with_compression(compression.above(0));
            assert_eq!(tiny.compress(b"7".to_vec()), (b"7".to_vec(), None));
        }
    }

    /// What earlier versions wrote, by the formats' own descriptions.
    #[test]
    fn golden_blocks_and_frames_read() {
        let block = b"\x05\0\0\0\x50\"Ada\"";
        assert_eq!(Algorithm::Lz4.decompress(block, 5), Some(b"\"Ada\"".to_vec()));
        let frame = b"\x28\xB5\x2F\xFD\x20\x05\x29\0\0\"Ada\"";
        assert_eq!(Algorithm::Zstd.decompress(frame, 5), Some(b"\"Ada\"".to_vec()));
    }
}
