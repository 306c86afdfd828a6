//! Names of environments.

/// The environment whose flags are meant where nobody says another.
pub(crate) const DEFAULT: &str = "default";

const LEN_MAX: usize = 64;

/// # Errors
/// A sentence that says what was expected.
pub(crate) fn check(text: &str) -> Result<(), String> {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let is_good = (1..=LEN_MAX).contains(&text.len())
        && text.bytes().all(is_known)
        // As names of tenants and caches: dots alone mean something else in paths.
        && text.bytes().any(|byte| byte != b'.');
    match is_good {
        true => Ok(()),
        false => Err(format!(
            "invalid environment {text:?}: expected 1 to 64 of A-Z a-z 0-9 . - and not only dots"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_of_few_characters() {
        for good in [DEFAULT, "prod", "eu-1.prod", "Z", &"e".repeat(64)] {
            assert_eq!(check(good), Ok(()));
        }
        for bad in ["", "..", "pro d", "a:b", "a_b", "{a}", "ä", &"e".repeat(65)] {
            assert!(check(bad).unwrap_err().contains("expected 1 to 64 of"), "{bad}");
        }
    }
}
