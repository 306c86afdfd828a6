//! A webhook of a queue as text, and what it may be.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{QueueWebhook, QueueWebhookAt};
use crate::job::model::{in_words, millis};
use crate::kernel::error::{Error, Result};
use crate::stream::webhook::{WrittenPause, check_url, within};
use crate::stream::{Paused, Secret};

const SECRETS_MAX: usize = 2;
const CONCURRENCY_MAX: u16 = 64;
const TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// As it lies in the store.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    url: String,
    secrets: Vec<String>,
    timeout_ms: u64,
    concurrency: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    paused: Option<WrittenPause>,
}

pub(super) fn check(webhook: &QueueWebhook) -> Result<()> {
    check_url(&webhook.url)?;
    within("secrets", webhook.secrets.len(), 1, SECRETS_MAX)?;
    if !(TIMEOUT_MIN..=QueueWebhook::TIMEOUT_MAX).contains(&webhook.timeout) {
        return Err(Error::rejected(format!(
            "a timeout of {} is out of bounds: expected 1s to 5m",
            in_words(webhook.timeout)
        )));
    }
    within("jobs at once", webhook.concurrency, 1, CONCURRENCY_MAX)
}

pub(super) fn text_of(webhook: &QueueWebhook, paused: Option<&Paused>) -> Result<String> {
    let written = Written {
        url: webhook.url.clone(),
        secrets: webhook.secrets.iter().map(Secret::reveal).collect(),
        timeout_ms: millis(webhook.timeout),
        concurrency: webhook.concurrency,
        paused: paused.map(WrittenPause::of),
    };
    serde_json::to_string(&written)
        .map_err(|error| Error::rejected("expected a webhook that is JSON").with_source(error))
}

/// A webhook by its revision, a space and its text.
///
/// # Errors
/// `Corrupt` for what this version cannot read, without a word of it.
pub(super) fn webhook_of(queue: &str, text: &[u8]) -> Result<QueueWebhookAt> {
    read(queue, text).ok_or_else(|| {
        Error::corrupt(format!(
            "the webhook of queue {queue:?} cannot be read: expected one that this version of Sinew has written"
        ))
    })
}

fn read(queue: &str, text: &[u8]) -> Option<QueueWebhookAt> {
    let (revision, text) = std::str::from_utf8(text).ok()?.split_once(' ')?;
    let written: Written = serde_json::from_str(text).ok()?;
    let secrets = written.secrets.iter().map(|text| Secret::parse(text));
    let webhook = QueueWebhook {
        url: written.url,
        secrets: secrets.collect::<Result<_>>().ok()?,
        timeout: Duration::from_millis(written.timeout_ms),
        concurrency: written.concurrency,
    };
    check(&webhook).ok()?;
    let paused = match written.paused {
        None => None,
        Some(paused) => Some(paused.read()?),
    };
    Some(QueueWebhookAt {
        queue: queue.to_owned(),
        revision: revision.parse().ok()?,
        webhook,
        paused,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook() -> QueueWebhook {
        QueueWebhook::new("https://example.com/in?a=b", Secret::generate().unwrap())
    }

    #[test]
    fn a_webhook_is_read_as_it_was_written() {
        let webhook = QueueWebhook { timeout: Duration::from_secs(3), ..webhook() };
        for paused in [None, Some(Paused::now("410 Gone"))] {
            let text = format!("7 {}", text_of(&webhook, paused.as_ref()).unwrap());
            let at = webhook_of("mail", text.as_bytes()).unwrap();
            assert_eq!((at.revision, at.queue.as_str()), (7, "mail"));
            assert_eq!((at.webhook, at.paused), (webhook.clone(), paused));
        }
        for other in ["", "7", "7 {}", "x {}"] {
            assert!(webhook_of("mail", other.as_bytes()).is_err(), "{other}");
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_with_the_rule_and_no_url() {
        for (bad, told) in [
            (QueueWebhook { url: "ftp://secret".to_owned(), ..webhook() }, "expected https://"),
            (QueueWebhook { secrets: Vec::new(), ..webhook() }, "0 secrets: expected 1 to 2"),
            (QueueWebhook { timeout: Duration::from_secs(301), ..webhook() }, "expected 1s to 5m"),
            (QueueWebhook { concurrency: 65, ..webhook() }, "expected 1 to 64"),
        ] {
            let error = check(&bad).unwrap_err().to_string();
            assert!(error.contains(told) && !error.contains("secret/"), "{error}");
        }
    }
}
