//! What a pull finds: events that are due, and new ones, or those that come while it waits.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use super::super::backend::Backend as _;
use super::super::model::{Due, Entry, Reply};
use super::super::page::{PAGE_LEN_MAX, len_of};
use super::{LeaseToken, Part, Puller};
use crate::kernel::error::Result;

/// How many entries are asked for in one call: at first, and at most, and then what is about so long in bytes.
pub(super) const STEP_FIRST: usize = 4;
const STEP_MAX: usize = 64;
const STEP_LEN_MAX: usize = 1 << 20;

impl Puller {
    /// What there is, or comes while it waits, with the number of its partition; and until when it is the caller's.
    pub(super) async fn find(
        &self,
        parts: &[Part],
        token: &LeaseToken,
        max: usize,
        wait: Duration,
    ) -> Result<(Vec<(usize, Entry)>, SystemTime)> {
        let mut found = self.there(parts, token, max).await?;
        if found.is_empty() && !wait.is_zero() {
            found = self.read(parts, token, max, wait).await?;
        }
        let until = SystemTime::now() + self.lease;
        let given: BTreeSet<usize> = found.iter().map(|(at, _)| *at).collect();
        for part in given.into_iter().filter_map(|at| parts.get(at)) {
            self.begin_lease(part, token).await?;
        }
        Ok((found, until))
    }

    /// What is there now: due, or new. With the number of its partition. A few at a time: a call is to end in time, however
    /// long they are.
    async fn there(
        &self,
        parts: &[Part],
        token: &LeaseToken,
        max: usize,
    ) -> Result<Vec<(usize, Entry)>> {
        let (mut found, mut len, mut step) = (Vec::new(), 0, STEP_FIRST);
        let mut order: Vec<(usize, &Part)> = parts.iter().enumerate().collect();
        // None is to wait for as long as there is always something in another.
        fastrand::shuffle(&mut order);
        for (at, part) in order {
            let mut is_new = false;
            loop {
                let most = step.min(max - found.len());
                if most == 0 || len >= PAGE_LEN_MAX {
                    return Ok(found);
                }
                let some = match is_new {
                    false => self.due(part, token, most).await?,
                    true => self.new_ones(part, token, most).await?,
                };
                let (count, came) = (some.len(), some.iter().map(len_of).sum::<usize>());
                found.extend(some.into_iter().map(|entry| (at, entry)));
                len += came;
                if count > 0 {
                    step = (STEP_LEN_MAX * count / came.max(1)).clamp(1, STEP_MAX);
                }
                match (count < most, is_new) {
                    (false, _) => {}
                    (true, false) => is_new = true,
                    (true, true) => break,
                }
            }
        }
        Ok(found)
    }

    pub(super) async fn due(
        &self,
        part: &Part,
        token: &LeaseToken,
        max: usize,
    ) -> Result<Vec<Entry>> {
        let backend = &self.streams.engine.backend;
        match backend.due(&part.keys, &part.group, &token.0, max).await? {
            Due::Took { taken, .. } => Ok(taken.entries),
            Due::Refused | Due::NoGroup => Ok(Vec::new()),
        }
    }

    async fn new_ones(&self, part: &Part, token: &LeaseToken, max: usize) -> Result<Vec<Entry>> {
        let backend = &self.streams.engine.backend;
        match backend.read_new(&part.keys, &part.group, &token.0, max).await? {
            Reply::Ok(new) => Ok(new),
            Reply::NoGroup => Ok(Vec::new()),
        }
    }
}
