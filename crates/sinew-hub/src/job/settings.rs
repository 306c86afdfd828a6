//! The queues that the configuration names.

use std::time::Duration;

use sinew::job::{QueueLook, QueueSettings};
use sinew::{Jobs, Sinew};

/// How soon after Redis has come back empty its queues are there again.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What is said of a queue. The rest stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueueSetting {
    pub(crate) name: String,
    pub(crate) partitions: Option<u16>,
    pub(crate) len_max: Option<u64>,
    pub(crate) global: Option<u64>,
    pub(crate) per_key: Option<u64>,
    /// So many starts in any window of this length.
    pub(crate) rate: Option<(u64, Duration)>,
}

impl QueueSetting {
    /// Whether declaring it would be refused, whatever is there.
    ///
    /// # Errors
    /// `Rejected`, with what was expected.
    pub(crate) fn check(&self) -> sinew::Result<()> {
        self.settings().check()
    }

    /// Declares it, or changes it where it is there.
    pub(crate) async fn declare(&self, jobs: &Jobs) -> sinew::Result<QueueLook> {
        jobs.queue(&self.name).declare(self.settings()).await
    }

    fn settings(&self) -> QueueSettings {
        let mut settings = QueueSettings::new();
        if let Some(partitions) = self.partitions {
            settings = settings.partitions(partitions);
        }
        if let Some(len_max) = self.len_max {
            settings = settings.len_max(len_max);
        }
        if let Some(global) = self.global {
            settings = settings.global(global);
        }
        if let Some(per_key) = self.per_key {
            settings = settings.per_key(per_key);
        }
        if let Some((starts, per)) = self.rate {
            settings = settings.rate(starts, per);
        }
        settings
    }
}

/// Whether a queue may be called so.
pub(crate) fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    text.len() <= 64 && text.bytes().all(is_plain) && text.bytes().any(|byte| byte != b'.')
}

/// Declares queues once the store is there, and again whenever it has lost them.
pub(crate) async fn keep_queues_declared(sinew: Sinew, queues: Vec<QueueSetting>) {
    let (jobs, mut told) = (sinew.jobs(), vec![false; queues.len()]);
    while !queues.is_empty() {
        for (queue, was_told) in queues.iter().zip(&mut told) {
            match queue.declare(&jobs).await {
                Ok(_) => *was_told = false,
                // One that is away comes back, and says so itself.
                Err(error) if error.is_retryable() => {}
                Err(error) => {
                    if !std::mem::replace(was_told, true) {
                        let (name, error) = (&queue.name, format!("{error:#}"));
                        tracing::error!(queue = name, error, "a queue is not as configured");
                    }
                }
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_bounds_is_refused_before_it_is_declared() {
        let queue = || QueueSetting { name: "mail".to_owned(), ..QueueSetting::default() };
        let second = Duration::from_secs(1);
        let good = QueueSetting { global: Some(0), rate: Some((100, second)), ..queue() };
        assert!(good.check().is_ok());
        for bad in [
            QueueSetting { partitions: Some(33), ..queue() },
            QueueSetting { len_max: Some(0), ..queue() },
            QueueSetting { per_key: Some(1_000_001), ..queue() },
            QueueSetting { rate: Some((1, Duration::ZERO)), ..queue() },
        ] {
            let told = bad.check().unwrap_err().to_string();
            assert!(told.contains("expected"), "{told}");
        }
        for bad in ["", "..", "a b", &"x".repeat(65)] {
            assert!(!is_name(bad), "{bad}");
        }
        assert!(is_name("mail.v2_eu-west"));
    }
}
