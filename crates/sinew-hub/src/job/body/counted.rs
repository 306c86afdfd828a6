//! What was counted of jobs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sinew::job::Period;
use utoipa::ToSchema;

use crate::stream::body::time;

/// What was counted in a minute or a day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct PeriodBody {
    /// When it began (RFC 3339)
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Timestamp,
    #[serde(flatten)]
    pub(crate) ended: EndedBody,
    /// Deliveries that ended with their process
    pub(crate) crashed: u64,
    /// Ends that did not count: their job was another's by then
    pub(crate) lost: u64,
    /// The same by kind, as workers tell it
    pub(crate) kinds: BTreeMap<String, KindBody>,
}

/// How runs have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct EndedBody {
    pub(crate) done: u64,
    /// Times that a job failed, and is tried again
    pub(crate) failed: u64,
    /// Times that a job was put off
    pub(crate) snoozed: u64,
    pub(crate) dead: u64,
}

impl EndedBody {
    fn of(&mut self, name: &str) -> Option<&mut u64> {
        match name {
            "done" => Some(&mut self.done),
            "failed" => Some(&mut self.failed),
            "snoozed" => Some(&mut self.snoozed),
            "dead" => Some(&mut self.dead),
            _ => None,
        }
    }
}

/// How runs of a kind of job have ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct KindBody {
    #[serde(flatten)]
    pub(crate) ended: EndedBody,
    /// How many took how long at most, in milliseconds, and longer than the bound before; the last is `inf`
    pub(crate) took_ms: BTreeMap<String, u64>,
}

impl From<Period> for PeriodBody {
    fn from(period: Period) -> Self {
        let mut body = Self { at: time(period.at), ..Self::default() };
        for (name, count) in period.counts {
            body.add(&name, count);
        }
        body
    }
}

impl PeriodBody {
    /// What a newer worker counts besides is left out.
    fn add(&mut self, name: &str, count: u64) {
        let of_kind = |rest: &str| {
            let (kind, what) = rest.rsplit_once(':')?;
            Some((kind.to_owned(), what.to_owned()))
        };
        if let Some((kind, outcome)) = name.strip_prefix("k:").and_then(of_kind) {
            if let Some(known) = self.kinds.entry(kind).or_default().ended.of(&outcome) {
                *known += count;
            }
        } else if let Some((kind, bound)) = name.strip_prefix("h:").and_then(of_kind) {
            *self.kinds.entry(kind).or_default().took_ms.entry(bound).or_default() += count;
        } else if let Some(known) = self.ended.of(name) {
            *known += count;
        } else if name == "crashed" {
            self.crashed += count;
        } else if name == "lost" {
            self.lost += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn counters_are_told_by_kind() {
        let counts = [
            ("done", 5),
            ("crashed", 1),
            ("k:email.send:done", 4),
            ("h:email.send:20", 3),
            ("h:email.send:inf", 1),
            ("k:email.send:unheard", 7),
            ("unheard", 7),
        ];
        let counts = counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        let body = PeriodBody::from(Period { at: SystemTime::UNIX_EPOCH, counts });
        assert_eq!((body.ended.done, body.crashed, body.kinds.len()), (5, 1, 1));
        let kind = &body.kinds["email.send"];
        assert_eq!((kind.ended.done, kind.took_ms["20"], kind.took_ms["inf"]), (4, 3, 1));
        let written = serde_json::to_string(&body).unwrap();
        assert!(written.contains(r#""done":5,"#) && !written.contains("unheard"), "{written}");
        assert_eq!(serde_json::from_str::<PeriodBody>(&written).unwrap(), body);
    }
}
