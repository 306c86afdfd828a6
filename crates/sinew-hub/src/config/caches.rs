//! `[caches.NAME]`: how one cache is kept.

use sinew::{Compression, Format, Keyring, Local, Ttl};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::layers::File;
use super::read::scalar;
use super::{Fault, Origin};
use crate::cache::settings::CacheSettings;
use crate::{duration, size};

/// The library takes no less; more than anyone's memory would be a slip.
const LOCAL_MIN: usize = 1 << 10;
const LOCAL_MAX: usize = 64 << 30;

/// What a table said, while what holds for all caches is not known yet.
#[derive(Default)]
pub(super) struct Table {
    ttl: Option<Ttl>,
    tagged: bool,
    local: Local,
    format: Format,
    compression: Option<Compression>,
    /// Where it was said, if it was.
    encrypted: Option<Origin>,
}

impl Table {
    pub(super) fn read(
        file: &File,
        cache: &str,
        settings: &DeTable<'_>,
        faults: &mut Vec<Fault>,
    ) -> Self {
        let mut table = Self::default();
        let mut format_at = None;
        for (key, value) in settings {
            let origin = file.at(key.span().start);
            let read = match key.get_ref().as_ref() {
                "ttl" => ttl(value).map(|ttl| table.ttl = Some(ttl)),
                "tagged" => switch("tagged", value).map(|on| table.tagged = on),
                "local" => local(value).map(|local| table.local = local),
                "format" => {
                    format_at = Some(origin.clone());
                    format(value).map(|format| table.format = format)
                }
                "compress" => compression(value).map(|how| table.compression = Some(how)),
                "encrypt" => {
                    switch("encrypt", value).map(|on| table.encrypted = on.then(|| origin.clone()))
                }
                unknown => Err(format!(
                    "unknown key {unknown:?} of cache {cache:?}: expected ttl, tagged, local, format, compress or encrypt"
                )),
            };
            if let Err(message) = read {
                faults.push(Fault { origin, message });
            }
        }
        if let Some(origin) = format_at.filter(|_| table.asks_too_much_of_its_format()) {
            let message = "plain-json stores the JSON alone: expected no tagged, local, compress or encrypt beside it, or format = \"json\"";
            faults.push(Fault { origin, message: message.to_owned() });
        }
        table
    }

    fn asks_too_much_of_its_format(&self) -> bool {
        let needs_room = self.tagged
            || self.local != Local::none()
            || self.compression.is_some()
            || self.encrypted.is_some();
        self.format == Format::PlainJson && needs_room
    }

    /// Where encryption was asked for that cannot be.
    pub(super) fn lacks_keyring(&self, has_keyring: bool) -> Option<Origin> {
        self.encrypted.clone().filter(|_| !has_keyring)
    }

    pub(super) fn settle(self, default_ttl: Ttl, keyring: Option<&Keyring>) -> CacheSettings {
        CacheSettings {
            ttl: self.ttl.unwrap_or(default_ttl),
            tagged: self.tagged,
            local: self.local,
            format: self.format,
            compression: self.compression,
            keyring: self.encrypted.and(keyring.cloned()),
        }
    }
}

fn ttl(value: &Spanned<DeValue<'_>>) -> Result<Ttl, String> {
    match value.get_ref() {
        DeValue::String(text) => duration::parse_ttl(text),
        _ => Err(format!("invalid ttl: {}, in quotes", duration::EXPECTED)),
    }
}

pub(super) fn switch(key: &str, value: &Spanned<DeValue<'_>>) -> Result<bool, String> {
    match value.get_ref() {
        DeValue::Boolean(on) => Ok(*on),
        _ => Err(format!("invalid {key}: expected true or false, without quotes")),
    }
}

fn local(value: &Spanned<DeValue<'_>>) -> Result<Local, String> {
    let text = scalar(value.get_ref())
        .ok_or_else(|| format!("invalid local: {}, in quotes", size::EXPECTED))?;
    let bytes = size::parse(&text)?;
    if !(LOCAL_MIN..=LOCAL_MAX).contains(&bytes) {
        return Err(format!("a local level of {text} is out of bounds: expected 1KiB to 64GiB"));
    }
    Ok(Local::bytes(bytes))
}

fn format(value: &Spanned<DeValue<'_>>) -> Result<Format, String> {
    match word(value) {
        Some("json") => Ok(Format::Json),
        Some("plain-json") => Ok(Format::PlainJson),
        _ => Err("invalid format: expected \"json\" or \"plain-json\"".to_owned()),
    }
}

fn compression(value: &Spanned<DeValue<'_>>) -> Result<Compression, String> {
    match word(value) {
        Some("lz4") => Ok(Compression::lz4()),
        Some("zstd") => Ok(Compression::zstd()),
        _ => Err("invalid compress: expected \"lz4\" or \"zstd\"".to_owned()),
    }
}

pub(super) fn word<'a>(value: &'a Spanned<DeValue<'_>>) -> Option<&'a str> {
    match value.get_ref() {
        DeValue::String(text) => Some(text),
        _ => None,
    }
}
