//! What the audit tells of recurring jobs: the same, whichever way a change has come.

use serde::Serialize;
use serde_json::{Value, json};
use sinew::job::{Dst, Missed, Overlap};

use super::Act;
use crate::job::body::{self, RecurringBody};

/// What is noted before it is done.
pub(crate) struct Entry {
    pub(crate) act: Act,
    pub(crate) what: Value,
    pub(crate) before: Value,
    pub(crate) after: Value,
}

/// A recurring job without what its jobs are given, which may be a secret.
#[derive(Serialize)]
pub(crate) struct Outline<'a> {
    pub(crate) queue: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) cron: Option<&'a str>,
    pub(crate) tz: Option<&'a str>,
    pub(crate) dst: Option<Dst>,
    pub(crate) every: Option<String>,
    pub(crate) missed: Missed,
    pub(crate) overlap: Overlap,
    pub(crate) priority: Option<u8>,
    pub(crate) key: Option<&'a str>,
    pub(crate) paused: bool,
}

impl<'a> Outline<'a> {
    fn of(job: &'a RecurringBody) -> Self {
        Self {
            queue: &job.queue,
            kind: &job.kind,
            cron: job.cron.as_deref(),
            tz: job.tz.as_deref(),
            dst: job.dst,
            every: job.every.clone(),
            missed: job.missed,
            overlap: job.overlap,
            priority: job.priority,
            key: job.key.as_deref(),
            paused: job.paused,
        }
    }
}

impl Entry {
    /// Of what its jobs are given, whether it becomes another.
    pub(crate) fn put(
        name: &str,
        before: Option<&RecurringBody>,
        after: &Outline<'_>,
        payload: &[u8],
    ) -> Self {
        let is_other = before.is_some_and(|job| body::payload(job.payload.as_deref()) != payload);
        let what = json!({ "recurring": name, "act": "put", "changes_payload": is_other });
        Self::of(Act::Recurring, what, json!(before.map(Outline::of)), json!(after))
    }

    pub(crate) fn remove(job: &RecurringBody) -> Self {
        let what = json!({ "recurring": job.name, "act": "remove" });
        Self::of(Act::Recurring, what, json!(Outline::of(job)), Value::Null)
    }

    pub(crate) fn switch(job: &RecurringBody, paused: bool) -> Self {
        let act = if paused { "pause" } else { "resume" };
        let what = json!({ "recurring": job.name, "act": act });
        let after = Outline { paused, ..Outline::of(job) };
        Self::of(Act::Recurring, what, json!(Outline::of(job)), json!(after))
    }

    pub(crate) fn fire(job: &RecurringBody) -> Self {
        let what = json!({ "recurring": job.name });
        Self::of(Act::Fire, what, json!(Outline::of(job)), Value::Null)
    }

    fn of(act: Act, what: Value, before: Value, after: Value) -> Self {
        Self { act, what, before, after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nightly() -> RecurringBody {
        let json = json!({
            "name": "nightly", "revision": 7, "queue": "default", "kind": "cleanup",
            "payload": {"token": "secret"}, "cron": "0 2 * * *", "tz": "Europe/Berlin",
            "dst": "run-once", "every": null, "missed": "fire-once", "overlap": "skip",
            "priority": null, "key": null, "paused": false, "last_tick": "2026-01-31T01:00:00Z",
            "last_job": null, "next": []
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_change_is_an_entry_with_a_difference_and_without_what_jobs_are_given() {
        let job = nightly();
        let put = |after: &Outline<'_>, payload: &[u8]| {
            let entry = Entry::put("nightly", Some(&job), after, payload);
            assert!(!format!("{} {} {}", entry.what, entry.before, entry.after).contains("secret"));
            (entry.before != entry.after, entry.what["changes_payload"] == true)
        };
        let same = br#"{"token":"secret"}"#;
        assert_eq!(put(&Outline::of(&job), same), (false, false));
        assert_eq!(put(&Outline::of(&job), b"null"), (false, true));
        for other in [
            Outline { dst: Some(Dst::Skip), ..Outline::of(&job) },
            Outline { missed: Missed::FireAll, ..Outline::of(&job) },
            Outline { overlap: Overlap::Allow, ..Outline::of(&job) },
            Outline { priority: Some(9), ..Outline::of(&job) },
            Outline { key: Some("acme"), ..Outline::of(&job) },
        ] {
            assert_eq!(put(&other, same), (true, false));
        }
        let paused = Entry::switch(&job, true);
        assert_eq!(
            (&paused.before["paused"], &paused.after["paused"]),
            (&json!(false), &json!(true))
        );
    }
}
