//! Which dead jobs are meant, and how many they are, without reading them all: each may have a megabyte.

use std::time::Duration;

use sinew::job::{DeadFilter, DeadGroup, QueueHandle};

/// Where no more are dead, they are read, to say how many of them are old enough.
const READ_MAX: u64 = 100;
const PAGE_LEN: usize = 100;

/// Which dead jobs. All that is said has to be so.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meant<'a> {
    pub(crate) kind: Option<&'a str>,
    pub(crate) fingerprint: Option<&'a str>,
    pub(crate) older_than: Option<Duration>,
}

/// How many they are, as far as that can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HowMany {
    pub(crate) at_most: u64,
    pub(crate) is_exact: bool,
}

impl Meant<'_> {
    pub(crate) fn filter(&self) -> DeadFilter {
        let mut filter = DeadFilter::new();
        if let Some(kind) = self.kind {
            filter = filter.kind(kind);
        }
        if let Some(fingerprint) = self.fingerprint {
            filter = filter.fingerprint(fingerprint);
        }
        if let Some(age) = self.older_than {
            filter = filter.older_than(age);
        }
        filter
    }

    /// Of all that a look at the queue has found dead.
    ///
    /// # Errors
    /// As [`QueueHandle::look`].
    pub(crate) async fn count(&self, queue: &QueueHandle, all: u64) -> sinew::Result<HowMany> {
        if self.older_than.is_some() && all <= READ_MAX {
            return self.read(queue).await;
        }
        let found = match (self.kind, self.fingerprint) {
            (None, None) => HowMany { at_most: all, is_exact: true },
            _ => self.among(all, &queue.dead().groups().await?),
        };
        Ok(HowMany { is_exact: found.is_exact && self.older_than.is_none(), ..found })
    }

    async fn read(&self, queue: &QueueHandle) -> sinew::Result<HowMany> {
        let (dead, mut at_most, mut after) =
            (queue.dead().filter(self.filter()), 0, None::<String>);
        loop {
            let page = dead.page(after.as_deref(), PAGE_LEN).await?;
            at_most += page.jobs.len() as u64;
            after = page.next;
            if after.is_none() {
                return Ok(HowMany { at_most, is_exact: true });
            }
        }
    }

    /// Whatever has a trouble that is not told, since there are more than a thousand, may be meant as well.
    fn among(&self, all: u64, troubles: &[DeadGroup]) -> HowMany {
        let is = |said: Option<&str>, found: &str| said.is_none_or(|said| said == found);
        let is_meant = |trouble: &&DeadGroup| {
            is(self.kind, &trouble.kind) && is(self.fingerprint, &trouble.fingerprint)
        };
        let told: u64 = troubles.iter().map(|trouble| trouble.count).sum();
        let meant: u64 = troubles.iter().filter(is_meant).map(|trouble| trouble.count).sum();
        let untold = all.saturating_sub(told);
        HowMany { at_most: meant + untold, is_exact: untold == 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_fewer_are_told_than_may_be_meant() {
        let trouble = |fingerprint: &str, kind: &str, count| DeadGroup {
            fingerprint: fingerprint.to_owned(),
            kind: kind.to_owned(),
            error: String::new(),
            count,
            newest_ms: 0,
        };
        let troubles = [trouble("1", "a", 5), trouble("2", "a", 3), trouble("3", "b", 2)];
        let of_kind = Meant { kind: Some("a"), ..Meant::default() };
        let of_both = Meant { fingerprint: Some("2"), ..of_kind };
        let exactly = |at_most| HowMany { at_most, is_exact: true };
        assert_eq!(of_kind.among(10, &troubles), exactly(8));
        assert_eq!(of_both.among(10, &troubles), exactly(3));
        assert_eq!(of_kind.among(9, &troubles), exactly(8), "one was retried meanwhile");
        let about = HowMany { at_most: 12, is_exact: false };
        assert_eq!(of_kind.among(14, &troubles), about, "four have troubles that are not told");
    }
}
