//! Sizes as people write them: `64MiB`, `512 KiB`, `4096`.

/// What a size looks like, for messages.
pub(crate) const EXPECTED: &str =
    "expected a size like 64MiB, 512KiB or 1GiB, or a number of bytes";

const UNITS: [(&str, u32); 5] = [("", 0), ("B", 0), ("KiB", 10), ("MiB", 20), ("GiB", 30)];

/// Bytes.
///
/// # Errors
/// A sentence that says what was expected.
pub(crate) fn parse(text: &str) -> Result<usize, String> {
    let read = || {
        let text = text.trim();
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let (_, shift) = *UNITS.iter().find(|(name, _)| *name == unit.trim_start())?;
        number.parse::<usize>().ok()?.checked_mul(1_usize << shift)
    };
    read().ok_or_else(|| format!("invalid size {text:?}: {EXPECTED}"))
}

/// For people: in the unit that leaves one to four digits, rounded down to a tenth.
pub(crate) fn shown(bytes: u64) -> String {
    let fits = |(_, shift): &&(&str, u32)| bytes >> shift > 0;
    match UNITS.iter().skip(2).rev().find(fits) {
        None => format!("{bytes} B"),
        Some(&(unit, shift)) => {
            let (whole, rest) = (bytes >> shift, bytes & ((1_u64 << shift) - 1));
            format!("{whole}.{} {unit}", (rest * 10) >> shift)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(parse("64MiB"), Ok(64 << 20));
        assert_eq!(parse(" 512 KiB "), Ok(512 << 10));
        assert_eq!(parse("1GiB"), Ok(1 << 30));
        assert_eq!(parse("4096"), Ok(4096));
        assert_eq!(parse("7B"), Ok(7));
        for bad in [
            "",
            "MiB",
            "-1",
            "1.5MiB",
            "64MB",
            "64mib",
            "64 M",
            "99999999999999999999",
            "99999999999999GiB",
        ] {
            assert!(parse(bad).unwrap_err().contains("expected a size"), "{bad}");
        }
    }

    #[test]
    fn sizes_are_shown_in_their_largest_unit() {
        assert_eq!(shown(0), "0 B");
        assert_eq!(shown(1023), "1023 B");
        assert_eq!(shown(1024), "1.0 KiB");
        assert_eq!(shown(1536), "1.5 KiB");
        assert_eq!(shown((1 << 20) - 1), "1023.9 KiB");
        assert_eq!(shown(64 << 20), "64.0 MiB");
        assert_eq!(shown(3 << 40), "3072.0 GiB");
    }
}
