//! A webhook as text, and what it may be.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{Mode, Paused, Secret, Webhook, WebhookAt};
use crate::kernel::error::{Error, Result};
use crate::kernel::name::TopicName;
use crate::stream::model::millis;

/// With what its group has before it, as long as a group may be.
const NAME_LEN_MAX: usize = 56;
const URL_LEN_MAX: usize = 2_048;
const SECRETS_MAX: usize = 2;
const KINDS_MAX: usize = 64;
const KIND_LEN_MAX: usize = 256;
const CONCURRENCY_MAX: u16 = 64;
const ATTEMPTS_MAX: u32 = 1_000;
const TIMEOUT_MIN: Duration = Duration::from_secs(1);
const TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// As it lies in the store.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    topic: String,
    url: String,
    secrets: Vec<String>,
    kinds: Vec<String>,
    timeout_ms: u64,
    attempts: u32,
    concurrency: u16,
    ordered: bool,
    mode: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    paused: Option<WrittenPause>,
}

/// That one is paused, as it lies in the store.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenPause {
    since_ms: u64,
    reason: String,
}

impl WrittenPause {
    pub(crate) fn of(paused: &Paused) -> Self {
        let since = paused.since.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { since_ms: millis(since), reason: paused.reason.clone() }
    }

    /// Nothing for a time that cannot be.
    pub(crate) fn read(self) -> Option<Paused> {
        let since = UNIX_EPOCH.checked_add(Duration::from_millis(self.since_ms))?;
        Some(Paused { since, reason: self.reason })
    }
}

pub(super) fn check_name(name: &str) -> Result<()> {
    let is_good = (1..=NAME_LEN_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && name.bytes().any(|byte| byte != b'.');
    if is_good {
        return Ok(());
    }
    let shown: String = name.chars().take(NAME_LEN_MAX).collect();
    Err(Error::rejected(format!(
        "invalid webhook {shown:?}: expected 1 to {NAME_LEN_MAX} of A-Z a-z 0-9 . _ - and not only dots"
    )))
}

pub(super) fn check(webhook: &Webhook) -> Result<()> {
    TopicName::new(&webhook.topic)?;
    check_url(&webhook.url)?;
    within("secrets", webhook.secrets.len(), 1, SECRETS_MAX)?;
    within("kinds", webhook.kinds.len(), 0, KINDS_MAX)?;
    for kind in &webhook.kinds {
        within("bytes of a kind", kind.len(), 1, KIND_LEN_MAX)?;
    }
    if !(TIMEOUT_MIN..=TIMEOUT_MAX).contains(&webhook.timeout) {
        return Err(Error::rejected(format!(
            "a timeout of {:?} is out of bounds: expected 1s to 30s",
            webhook.timeout
        )));
    }
    within("attempts", webhook.attempts, 1, ATTEMPTS_MAX)?;
    within("deliveries at once", webhook.concurrency, 1, CONCURRENCY_MAX)
}

/// What is asked of a URL only when it is defined.
pub(crate) fn refuse_fragment(url: &str) -> Result<()> {
    match url.contains('#') {
        true => {
            Err(Error::rejected("invalid url: expected no # in it: what is behind it is not sent"))
        }
        false => Ok(()),
    }
}

/// Looks at a URL for its form alone.
pub(crate) fn check_url(url: &str) -> Result<()> {
    let has_scheme = ["https://", "http://"].iter().any(|scheme| url.starts_with(scheme));
    let is_one_word = !url.chars().any(|c| c.is_whitespace() || c.is_control());
    match has_scheme && is_one_word && url.len() <= URL_LEN_MAX {
        true => Ok(()),
        // Not the URL itself: it may have a token in it.
        false => Err(Error::rejected(format!(
            "invalid url: expected https:// and a host, {URL_LEN_MAX} bytes at most"
        ))),
    }
}

pub(crate) fn within<N: PartialOrd + std::fmt::Display>(
    what: &str,
    number: N,
    least: N,
    most: N,
) -> Result<()> {
    match number >= least && number <= most {
        true => Ok(()),
        false => Err(Error::rejected(format!("{number} {what}: expected {least} to {most}"))),
    }
}

pub(super) fn text_of(webhook: &Webhook, paused: Option<&Paused>) -> Result<String> {
    let written = Written {
        topic: webhook.topic.clone(),
        url: webhook.url.clone(),
        secrets: webhook.secrets.iter().map(Secret::reveal).collect(),
        kinds: webhook.kinds.clone(),
        timeout_ms: millis(webhook.timeout),
        attempts: webhook.attempts,
        concurrency: webhook.concurrency,
        ordered: webhook.ordered,
        mode: webhook.mode.name().to_owned(),
        paused: paused.map(WrittenPause::of),
    };
    serde_json::to_string(&written)
        .map_err(|error| Error::rejected("expected a webhook that is JSON").with_source(error))
}

/// A webhook by its revision, a space and its text.
///
/// # Errors
/// `Corrupt` for what this version cannot read; its words are serde's, without values.
pub(super) fn webhook_of(name: &str, text: &[u8]) -> Result<WebhookAt> {
    read(name, text).ok_or_else(|| {
        Error::corrupt(format!(
            "webhook {name:?} cannot be read: expected one that this version of Sinew has written"
        ))
    })
}

fn read(name: &str, text: &[u8]) -> Option<WebhookAt> {
    let (revision, text) = std::str::from_utf8(text).ok()?.split_once(' ')?;
    let written: Written = serde_json::from_str(text).ok()?;
    let secrets = written.secrets.iter().map(|text| Secret::parse(text));
    let webhook = Webhook {
        topic: written.topic,
        url: written.url,
        secrets: secrets.collect::<Result<_>>().ok()?,
        kinds: written.kinds,
        timeout: Duration::from_millis(written.timeout_ms),
        attempts: written.attempts,
        concurrency: written.concurrency,
        ordered: written.ordered,
        mode: Mode::ALL.into_iter().find(|mode| mode.name() == written.mode)?,
    };
    check(&webhook).ok()?;
    let paused = match written.paused {
        None => None,
        Some(paused) => Some(paused.read()?),
    };
    Some(WebhookAt { name: name.to_owned(), revision: revision.parse().ok()?, webhook, paused })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook() -> Webhook {
        Webhook::new("orders", "https://example.com/in?a=b", Secret::generate().unwrap())
    }

    #[test]
    fn a_webhook_is_read_as_it_was_written() {
        let webhook = Webhook {
            kinds: vec!["OrderPlaced".to_owned()],
            timeout: Duration::from_secs(3),
            ordered: true,
            mode: Mode::Binary,
            ..webhook()
        };
        for paused in [None, Some(Paused::now("410 Gone"))] {
            let text = format!("7 {}", text_of(&webhook, paused.as_ref()).unwrap());
            let at = webhook_of("billing", text.as_bytes()).unwrap();
            assert_eq!((at.revision, at.name.as_str()), (7, "billing"));
            assert_eq!((at.webhook, at.paused), (webhook.clone(), paused));
        }
        for other in ["", "7", "7 {}", "x {}"] {
            assert!(webhook_of("billing", other.as_bytes()).is_err(), "{other}");
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_with_the_rule_and_no_url() {
        let secret = || Secret::generate().unwrap();
        for (bad, told) in [
            (Webhook { url: "ftp://secret".to_owned(), ..webhook() }, "expected https://"),
            (Webhook { url: "https://a b".to_owned(), ..webhook() }, "expected https://"),
            (Webhook { topic: "a b".to_owned(), ..webhook() }, "expected"),
            (Webhook { secrets: Vec::new(), ..webhook() }, "0 secrets: expected 1 to 2"),
            (
                Webhook { secrets: vec![secret(), secret(), secret()], ..webhook() },
                "3 secrets: expected 1 to 2",
            ),
            (Webhook { timeout: Duration::from_secs(31), ..webhook() }, "expected 1s to 30s"),
            (Webhook { attempts: 0, ..webhook() }, "0 attempts: expected 1 to 1000"),
            (Webhook { concurrency: 65, ..webhook() }, "expected 1 to 64"),
        ] {
            let error = check(&bad).unwrap_err().to_string();
            assert!(error.contains(told) && !error.contains("secret//"), "{error}");
        }
        for bad in ["", "..", "a b", "a/b", "ä", &"a".repeat(57)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert!(check_name("orders-to.billing_2").is_ok());
    }
}
