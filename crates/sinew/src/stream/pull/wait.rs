//! A pull that waits: for what is new, for what comes due, and for what others leave behind.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::{FutureExt as _, select_all};

use super::find::STEP_FIRST;
use super::{LeaseToken, Part, Puller, ticking};
use crate::kernel::error::Result;
use crate::kernel::key::PartitionKeys;
use crate::kernel::name::GroupName;
use crate::stream::backend::Backend as _;
use crate::stream::model::{Entry, EntryId, Next, READ_MAX, Reply, Ticking, millis};

/// How often one that waits looks for what comes due, or fell to others, at least.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// And at most.
const PAUSE_MIN: Duration = Duration::from_millis(10);

impl Puller {
    /// What comes due or falls to whoever asks, as soon as there is something, by the number of its partition.
    async fn until_due(
        &self,
        parts: &[Part],
        token: &LeaseToken,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<(u16, Entry)>> {
        let clock = &self.streams.engine.clock;
        let until = clock.now().after(wait);
        let mut pause = Duration::ZERO;
        loop {
            clock.sleep_until(clock.now().after(pause.clamp(PAUSE_MIN, LOOK_EVERY))).await;
            pause = LOOK_EVERY;
            for part in parts {
                let lease = self.lease + until.since(clock.now());
                let ticking = Ticking { lease_ms: millis(lease), ..ticking(token, self.lease) };
                let next = self.renew_and_claim(part, token, &ticking).await?;
                if next == Some(Duration::ZERO) {
                    let due = self.due(part, token, max.min(STEP_FIRST)).await?;
                    if !due.is_empty() {
                        let number = part.keys.partition();
                        return Ok(due.into_iter().map(|entry| (number, entry)).collect());
                    }
                }
                pause = next.map_or(pause, |next| pause.min(next));
            }
        }
    }

    /// What is new or comes due, as soon as there is something, by the number of its partition.
    pub(super) async fn read(
        &self,
        parts: &[Part],
        token: &LeaseToken,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<(usize, Entry)>> {
        let Some(first) = parts.first() else { return Ok(Vec::new()) };
        let backend = &self.streams.engine.backend;
        let all: Vec<PartitionKeys> = parts.iter().map(|part| part.keys.clone()).collect();
        let group = first.group.name();
        let readers = backend.together(&all).into_iter().map(|keys| {
            let mut reader = backend.reader(&keys, group);
            async move {
                loop {
                    match reader.next(&token.0, max).await {
                        Ok(Next::Got(found)) => return Ok(found),
                        Ok(Next::Nothing) => {}
                        Ok(Next::Reopened) => {
                            let owed = self.owed(&keys, group, token).await?;
                            if !owed.is_empty() {
                                return Ok(owed);
                            }
                        }
                        Ok(Next::NoGroup) => return Ok(Vec::new()),
                        Err(error) => return Err(error),
                    }
                }
            }
            .boxed()
        });
        let come = async {
            tokio::select! {
                (new, ..) = select_all(readers) => new,
                due = self.until_due(parts, token, max, wait) => due,
            }
        };
        let Ok(found) = tokio::time::timeout(wait, come).await else { return Ok(Vec::new()) };
        let mut found = found?;
        // What another was given meanwhile: of other partitions it is given back when this one leaves them.
        let of: BTreeSet<u16> = found.iter().map(|(number, _)| *number).collect();
        for part in parts.iter().filter(|part| of.contains(&part.keys.partition())) {
            let number = part.keys.partition();
            let its = found.iter().filter(|(of, _)| *of == number);
            let known: Vec<EntryId> = its.map(|(_, entry)| entry.id).collect();
            let reply =
                backend.recover(&part.keys, &part.group, &token.0, &known, READ_MAX).await?;
            if let Reply::Ok(taken) = reply {
                found.extend(taken.entries.into_iter().map(|entry| (number, entry)));
            }
        }
        Ok(found.into_iter().map(|(number, entry)| (usize::from(number), entry)).collect())
    }

    /// What a connection was given that was gone by then: all that is there, since nothing came before.
    async fn owed(
        &self,
        all: &[PartitionKeys],
        group: &GroupName,
        token: &LeaseToken,
    ) -> Result<Vec<(u16, Entry)>> {
        let (mut owed, backend) = (Vec::new(), &self.streams.engine.backend);
        for keys in all {
            let group = keys.group(group);
            let reply = backend.recover(keys, &group, &token.0, &[], READ_MAX).await?;
            if let Reply::Ok(taken) = reply {
                let of = |entry| (keys.partition(), entry);
                owed.extend(taken.entries.into_iter().map(of));
            }
        }
        Ok(owed)
    }
}
