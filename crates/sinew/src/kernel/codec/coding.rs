//! What the header of an entry says about its payload.

/// One byte of the header.
///
/// | bits | what |
/// | --- | --- |
/// | 0–2 | format: 0 JSON, 1 MessagePack, 2 Postcard |
/// | 3–4 | compression: 0 none, 1 lz4, 2 zstd |
/// | 5 | encrypted |
/// | 6–7 | 0 |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Coding {
    pub(super) layout: Layout,
    pub(super) compressed: Option<Algorithm>,
    pub(super) encrypted: bool,
}

/// How values are laid out, whether or not this build can read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Json,
    MessagePack,
    Postcard,
}

/// What payloads are compressed with, likewise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Lz4,
    Zstd,
}

impl Coding {
    /// JSON and nothing else: what entries were before there was a choice, and what is stored
    /// without an envelope.
    pub(crate) const JSON: Self = Self { layout: Layout::Json, compressed: None, encrypted: false };

    pub(crate) fn to_byte(self) -> u8 {
        let layout: u8 = match self.layout {
            Layout::Json => 0,
            Layout::MessagePack => 1,
            Layout::Postcard => 2,
        };
        let compressed: u8 = match self.compressed {
            None => 0,
            Some(Algorithm::Lz4) => 1,
            Some(Algorithm::Zstd) => 2,
        };
        layout | (compressed << 3) | (u8::from(self.encrypted) << 5)
    }

    /// `None` for what only a later version can have written.
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        let layout = match byte & 0b111 {
            0 => Layout::Json,
            1 => Layout::MessagePack,
            2 => Layout::Postcard,
            _ => return None,
        };
        let compressed = match (byte >> 3) & 0b11 {
            0 => None,
            1 => Some(Algorithm::Lz4),
            2 => Some(Algorithm::Zstd),
            _ => return None,
        };
        let encrypted = match byte >> 5 {
            0 => false,
            1 => true,
            _ => return None,
        };
        Some(Self { layout, compressed, encrypted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte that has ever been written. This list is never changed, only joined by others.
    const GOLDEN: [(u8, Coding); 18] = [
        (0x00, coding(Layout::Json, None, false)),
        (0x01, coding(Layout::MessagePack, None, false)),
        (0x02, coding(Layout::Postcard, None, false)),
        (0x08, coding(Layout::Json, Some(Algorithm::Lz4), false)),
        (0x09, coding(Layout::MessagePack, Some(Algorithm::Lz4), false)),
        (0x0A, coding(Layout::Postcard, Some(Algorithm::Lz4), false)),
        (0x10, coding(Layout::Json, Some(Algorithm::Zstd), false)),
        (0x11, coding(Layout::MessagePack, Some(Algorithm::Zstd), false)),
        (0x12, coding(Layout::Postcard, Some(Algorithm::Zstd), false)),
        (0x20, coding(Layout::Json, None, true)),
        (0x21, coding(Layout::MessagePack, None, true)),
        (0x22, coding(Layout::Postcard, None, true)),
        (0x28, coding(Layout::Json, Some(Algorithm::Lz4), true)),
        (0x29, coding(Layout::MessagePack, Some(Algorithm::Lz4), true)),
        (0x2A, coding(Layout::Postcard, Some(Algorithm::Lz4), true)),
        (0x30, coding(Layout::Json, Some(Algorithm::Zstd), true)),
        (0x31, coding(Layout::MessagePack, Some(Algorithm::Zstd), true)),
        (0x32, coding(Layout::Postcard, Some(Algorithm::Zstd), true)),
    ];

    const fn coding(layout: Layout, compressed: Option<Algorithm>, encrypted: bool) -> Coding {
        Coding { layout, compressed, encrypted }
    }

    #[test]
    fn the_golden_bytes_read_and_write_and_no_other_byte_reads() {
        for byte in 0..=u8::MAX {
            let expected = GOLDEN.iter().find(|(golden, _)| *golden == byte);
            let read = Coding::from_byte(byte);
            assert_eq!(read, expected.map(|(_, coding)| *coding), "{byte:#04x}");
            if let Some(coding) = read {
                assert_eq!(coding.to_byte(), byte);
            }
        }
        assert_eq!(Coding::JSON.to_byte(), 0);
    }
}
