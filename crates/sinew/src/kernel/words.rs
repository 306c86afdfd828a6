//! How errors, panics and processes are told, without what may be anyone's data.

use std::any::Any;
use std::error::Error as StdError;

/// How long the name of a worker, or of a consumer, may be that people know it by.
pub(crate) const LABEL_LEN_MAX: usize = 64;
const PANIC_LEN_MAX: usize = 400;

/// The beginning of a text, between characters.
pub(crate) fn cut(text: &str, len_max: usize) -> &str {
    &text[..text.floor_char_boundary(len_max)]
}

/// An error with its causes.
pub(crate) fn told(error: &(dyn StdError + Send + Sync + 'static)) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        told = format!("{told}: {error}");
        cause = error.source();
    }
    told
}

/// Serde's words say what it found, which may be anyone's data.
pub(crate) fn without_values(words: &str) -> String {
    let Some((found, expected)) = words.rsplit_once(", expected") else {
        return words.to_owned();
    };
    let kind = found.split(['"', '`']).next().unwrap_or_default();
    format!("{}, expected{expected}", kind.trim_end())
}

/// What a panic says.
pub(crate) fn words_of(panic: &(dyn Any + Send)) -> &str {
    let said = panic.downcast_ref::<&'static str>().copied();
    let words = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    cut(words.unwrap_or("without a word"), PANIC_LEN_MAX)
}

pub(crate) fn is_label(label: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    (1..=LABEL_LEN_MAX).contains(&label.len()) && label.bytes().all(is_allowed)
}

/// Host and process id, as far as the system says.
pub(crate) fn this_process() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String =
        host.trim().chars().filter(|c| is_label(c.encode_utf8(&mut [0; 4]))).take(48).collect();
    let host = if host.is_empty() { "host" } else { &host };
    format!("{host}:{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_unreadable_data_has_none_of_them() {
        let error = serde_json::from_str::<u64>(r#""secret, expected""#).unwrap_err().to_string();
        let told = without_values(&error);
        assert!(told.starts_with("invalid type: string, expected u64"), "{told}");
        let error = serde_json::from_str::<bool>("12345").unwrap_err().to_string();
        assert!(!without_values(&error).contains("12345"), "{error}");
    }

    #[test]
    fn a_process_has_a_name_that_a_worker_may_have() {
        assert!(is_label(&this_process()), "{}", this_process());
        assert!(!is_label("") && !is_label("a b") && !is_label("~parked"));
    }
}
