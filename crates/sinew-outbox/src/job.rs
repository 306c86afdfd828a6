//! A job as a row keeps it.

use std::time::{Duration, SystemTime};

use sinew::job::NewJob;

use crate::error::OutboxError;

/// For how long it is at least known that a job was there: as long as a topic knows its dedup ids.
const KEEP_MIN: Duration = Duration::from_secs(600);

/// Its text, as people would look for it in the table.
pub(crate) fn to_json(job: NewJob, now: SystemTime) -> Result<Vec<u8>, OutboxError> {
    let rejected = |error: sinew::Error| OutboxError::rejected(error.to_string());
    let mut job = job.kept(now).map_err(rejected)?;
    // A relay that died before it deleted the row enqueues it again, which is to find that it is done.
    job.retain = Some(job.retain.unwrap_or_default().max(KEEP_MIN));
    serde_json::to_vec(&job)
        .map_err(|e| OutboxError::rejected(format!("expected a job that JSON can hold: {e}")))
}

/// The job again; words where someone else wrote the row.
pub(crate) fn from_json(json: &[u8]) -> Result<NewJob, String> {
    let job: NewJob = serde_json::from_slice(json).map_err(|e| e.to_string())?;
    match job.id {
        Some(_) => Ok(job),
        None => Err("expected the id of a job".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> NewJob {
        NewJob { queue: "mail".to_owned(), ..NewJob::new("email.send", "{}") }
    }

    #[test]
    fn a_job_comes_out_of_its_row_with_an_id_and_is_kept_for_a_while() {
        let now = SystemTime::UNIX_EPOCH + Duration::new(1_795_316_265, 123_456_789);
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3_600));
        for (retain, expected) in [(None, KEEP_MIN), (Some(minute), KEEP_MIN), (Some(hour), hour)] {
            let new = NewJob { retain, delay: Some(minute), key: Some("ada".to_owned()), ..job() };
            let json = to_json(new, now).expect("JSON");
            let job = from_json(&json).expect("a job");
            assert_eq!(from_json(&json).expect("a job").id, job.id, "each time the same");
            assert_eq!((job.retain, job.at, job.delay), (Some(expected), Some(now + minute), None));
            assert_eq!((job.queue.as_str(), job.key.as_deref()), ("mail", Some("ada")));
            assert_eq!(job.payload, "{}");
        }
    }

    #[test]
    fn what_cannot_be_enqueued_is_refused_before_it_is_written() {
        let long = Some("x".repeat(129));
        for bad in [
            NewJob::default(),
            NewJob { kind: "a b".to_owned(), ..job() },
            NewJob { key: long, ..job() },
        ] {
            assert!(to_json(bad, SystemTime::now()).is_err());
        }
        assert!(from_json(b"{}").is_err(), "it has no id");
        assert!(from_json(b"7").is_err());
    }
}
