//! `sinew job recurring put`

use std::time::Duration;

use clap::Args;
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;
use sinew::job::{Dst, Expected, Missed, Overlap, Recurring};
use sinew::{ErrorKind, Jobs};

use super::{found, schedule_in_words};
use crate::cli::input;
use crate::cli::place::AtHub;
use crate::cli::request::read_reply;
use crate::cli::whose::Whose;
use crate::cli::{Outcome, print_json};
use crate::duration::{parse, written};
use crate::job::body::{self, RecurringBody};
use crate::job::command::place::{Place, failed, recurring_place, refused};
use crate::job::terms;

/// What a payload may look like, for messages.
const LIKE: &str = r#"{"days": 30}"#;
const QUEUE_DEFAULT: &str = "default";

/// What a recurring job is to be. What is not said of one that is there stays as it is.
#[derive(Args)]
pub struct PutArgs {
    /// Name of the recurring job
    name: String,
    /// Where it makes jobs [default of a new one: default]
    #[arg(long)]
    queue: Option<String>,
    /// Which handler they are for; of a new one
    #[arg(long)]
    kind: Option<String>,
    /// What they are given, as JSON; - reads it from standard input [default of a new one: null]
    #[arg(long, value_name = "JSON")]
    payload: Option<String>,
    /// Minute, hour, day of the month, month, day of the week, with seconds before them where there are six; or
    /// @daily and its like
    #[arg(long, value_name = "EXPRESSION")]
    cron: Option<String>,
    /// An interval instead, like 15m: at all multiples of it since 1970
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, value_parser = parse, conflicts_with = "cron")]
    every: Option<Duration>,
    /// The time zone of the clock on the wall [default of a new one: UTC]
    #[arg(long, value_name = "ZONE", conflicts_with = "every")]
    tz: Option<String>,
    /// When that clock is put forward or back: run-once, run-twice or skip [default of a new one: run-once]
    #[arg(long, value_name = "POLICY", value_parser = terms::dst, conflicts_with = "every")]
    dst: Option<Dst>,
    /// Ticks that no worker was there for: fire-once, fire-all or skip [default of a new one: fire-once]
    #[arg(long, value_name = "POLICY", value_parser = terms::missed)]
    missed: Option<Missed>,
    /// A tick whose job of the last tick has not ended: skip, allow or replace [default of a new one: skip]
    #[arg(long, value_name = "POLICY", value_parser = terms::overlap)]
    overlap: Option<Overlap>,
    /// 0 to 9; 9 is first [default of a new one: 5]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: Option<u8>,
    /// The key of its jobs
    #[arg(long, conflicts_with = "no_key")]
    key: Option<String>,
    /// They have no key any more
    #[arg(long)]
    no_key: bool,
    /// It is to make no jobs, until it is resumed
    #[arg(long)]
    paused: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

/// What one is to be, as a hub takes it.
#[derive(Clone, Debug, Serialize)]
struct Definition {
    queue: String,
    kind: String,
    payload: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cron: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tz: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dst: Option<Dst>,
    #[serde(skip_serializing_if = "Option::is_none")]
    every: Option<String>,
    missed: Missed,
    overlap: Overlap,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    paused: bool,
}

impl From<RecurringBody> for Definition {
    fn from(job: RecurringBody) -> Self {
        Self {
            queue: job.queue,
            kind: job.kind,
            payload: job.payload,
            cron: job.cron,
            tz: job.tz,
            dst: job.dst,
            every: job.every,
            missed: job.missed,
            overlap: job.overlap,
            priority: job.priority,
            key: job.key,
            paused: job.paused,
        }
    }
}

impl PutArgs {
    /// What it is to be, where it is this; `payload` as it was said.
    fn over(
        &self,
        before: Option<RecurringBody>,
        payload: Option<Box<RawValue>>,
    ) -> Result<Definition, Outcome> {
        let mut after = match before {
            Some(before) => Definition::from(before),
            None => self.anew()?,
        };
        if let Some(every) = self.every {
            (after.cron, after.tz, after.dst) = (None, None, None);
            after.every = Some(written(every));
        }
        if let Some(cron) = &self.cron {
            (after.cron, after.every) = (Some(cron.clone()), None);
        }
        if after.every.is_some() && (self.tz.is_some() || self.dst.is_some()) {
            return Err(Outcome::BadInput(
                "--tz and --dst: an interval knows no clock on a wall: expected --cron beside them"
                    .to_owned(),
            ));
        }
        after.tz = self.tz.clone().or(after.tz);
        after.dst = self.dst.or(after.dst);
        after.queue = self.queue.clone().unwrap_or(after.queue);
        after.kind = self.kind.clone().unwrap_or(after.kind);
        after.payload = payload.or(after.payload);
        after.missed = self.missed.unwrap_or(after.missed);
        after.overlap = self.overlap.unwrap_or(after.overlap);
        after.priority = self.priority.or(after.priority);
        after.key = self.key.clone().or(after.key).filter(|_| !self.no_key);
        after.paused |= self.paused;
        Ok(after)
    }

    /// Of a new one, before what is said of it.
    fn anew(&self) -> Result<Definition, Outcome> {
        let has_schedule = self.cron.is_some() || self.every.is_some();
        match &self.kind {
            Some(kind) if has_schedule => Ok(Definition {
                queue: QUEUE_DEFAULT.to_owned(),
                kind: kind.clone(),
                payload: None,
                cron: None,
                tz: None,
                dst: None,
                every: None,
                missed: Missed::default(),
                overlap: Overlap::default(),
                priority: None,
                key: None,
                paused: false,
            }),
            kind => {
                let expected = match (kind, has_schedule) {
                    (None, false) => "--kind, and --cron or --every",
                    (None, true) => "--kind",
                    (Some(_), _) => "--cron or --every",
                };
                Err(Outcome::BadInput(format!(
                    "there is no recurring job {:?}: expected {expected} to define it",
                    self.name
                )))
            }
        }
    }
}

impl Definition {
    /// For Redis.
    fn recurring(&self, jobs: &Jobs, name: &str, expected: Expected) -> Result<Recurring, Outcome> {
        let mut recurring = jobs
            .recurring(name)
            .job_raw(&self.queue, &self.kind, body::payload(self.payload.as_deref()))
            .missed(self.missed)
            .overlap(self.overlap)
            .expected(expected);
        if let Some(cron) = &self.cron {
            recurring = recurring.cron(cron);
        }
        if let Some(tz) = &self.tz {
            recurring = recurring.tz(tz);
        }
        if let Some(dst) = self.dst {
            recurring = recurring.dst(dst);
        }
        if let Some(every) = &self.every {
            recurring = recurring.every(parse(every).map_err(Outcome::BadInput)?);
        }
        if let Some(priority) = self.priority {
            recurring = recurring.priority(priority);
        }
        if let Some(key) = &self.key {
            recurring = recurring.key(key);
        }
        Ok(if self.paused { recurring.paused() } else { recurring })
    }
}

pub(super) async fn put(args: &PutArgs) -> Result<(), Outcome> {
    let payload = args.payload.as_deref().map(|said| input::read(said, LIKE)).transpose()?;
    let place = recurring_place(&args.whose).await?;
    let before = found(&place, &args.name).await?;
    let was_there = before.is_some();
    let expected = expected(args, before.as_ref());
    let definition = args.over(before, payload)?;
    let job = match &place {
        Place::Redis(jobs, _) => in_redis(jobs, &args.name, &definition, expected).await?,
        Place::Hub(hub) => at_hub(hub, &args.name, &definition, expected).await?,
    };
    if args.json {
        return print_json(&job);
    }
    let (done, whose) = (if was_there { "Changed" } else { "Defined" }, args.whose.shown());
    let next = match job.next.first() {
        Some(at) => format!(", next at {at}"),
        None => String::new(),
    };
    println!(
        "{done} recurring job {:?}{whose} in {place}: {} in queue {:?}, {}{next}.",
        args.name,
        job.kind,
        job.queue,
        schedule_in_words(&job)
    );
    Ok(())
}

/// Who changes it meanwhile is not undone. With another queue or key it goes to a place where nothing is yet.
fn expected(args: &PutArgs, before: Option<&RecurringBody>) -> Expected {
    let Some(before) = before else { return Expected::Absent };
    let moves = args.queue.as_ref().is_some_and(|queue| *queue != before.queue)
        || args.key.is_some() && args.key != before.key
        || args.no_key && before.key.is_some();
    if moves { Expected::Any } else { Expected::Revision(before.revision) }
}

async fn in_redis(
    jobs: &Jobs,
    name: &str,
    definition: &Definition,
    expected: Expected,
) -> Result<RecurringBody, Outcome> {
    match definition.recurring(jobs, name, expected)?.upsert().await {
        Ok(job) => Ok(job.into()),
        Err(error) if error.kind() == ErrorKind::Conflict => Err(overtaken(name)),
        Err(error) => Err(failed(error)),
    }
}

async fn at_hub(
    hub: &AtHub,
    name: &str,
    definition: &Definition,
    expected: Expected,
) -> Result<RecurringBody, Outcome> {
    let mut request = hub.request(&[name])?;
    request.revision = match expected {
        Expected::Any => None,
        Expected::Absent => Some(0),
        Expected::Revision(revision) => Some(revision),
    };
    let body = serde_json::to_string(definition).map_err(|e| Outcome::Failed(e.to_string()))?;
    let (status, text) = request.reply(Method::PUT, Some(body)).await?;
    match status {
        StatusCode::PRECONDITION_FAILED => Err(overtaken(name)),
        status if status.is_success() => read_reply(&text),
        status => Err(refused(&request, status, &text)),
    }
}

fn overtaken(name: &str) -> Outcome {
    Outcome::Failed(format!(
        "someone else has changed recurring job {name:?} meanwhile, and nothing was done: look at what it is now, and try again"
    ))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;
    use serde_json::value::to_raw_value;

    use super::super::tests::nightly;
    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        put: PutArgs,
    }

    fn said(words: &[&str]) -> PutArgs {
        Line::try_parse_from([&["put", "nightly"], words].concat()).map(|line| line.put).unwrap()
    }

    fn over(words: &[&str]) -> Definition {
        said(words).over(Some(nightly()), None).ok().unwrap()
    }

    fn written(definition: &Definition) -> String {
        serde_json::to_string(definition).unwrap()
    }

    #[test]
    fn what_is_not_said_stays_as_it_is() {
        let before = Definition::from(nightly());
        assert_eq!(written(&over(&[])), written(&before));
        let later = over(&["--cron", "0 3 * * *", "--priority", "7", "--paused"]);
        let expected = Definition {
            cron: Some("0 3 * * *".to_owned()),
            priority: Some(7),
            paused: true,
            ..before
        };
        assert_eq!(written(&later), written(&expected), "in the same time zone");
        let often = over(&["--every", "15m"]);
        assert_eq!((often.every.as_deref(), often.cron, often.tz), (Some("15m"), None, None));
        let refused = said(&["--tz", "UTC"]).over(
            Some(RecurringBody {
                cron: None,
                tz: None,
                every: Some("15m".to_owned()),
                ..nightly()
            }),
            None,
        );
        assert!(matches!(refused, Err(Outcome::BadInput(told)) if told.contains("--cron")));
    }

    #[test]
    fn a_new_one_has_a_kind_and_a_schedule_and_what_is_missing_is_told() {
        let payload = to_raw_value(&json!({})).ok();
        let whole = said(&["--kind", "cleanup", "--every", "1h"]).over(None, payload);
        let whole = whole.ok().unwrap();
        assert_eq!((whole.queue.as_str(), whole.every.as_deref()), ("default", Some("1h")));
        assert!(whole.payload.is_some());
        for (words, missing) in [
            (&["--kind", "cleanup"][..], "expected --cron or --every to"),
            (&["--every", "1h"][..], "expected --kind to"),
            (&[][..], "expected --kind, and --cron or --every to"),
        ] {
            let refused = said(words).over(None, None);
            assert!(
                matches!(&refused, Err(Outcome::BadInput(told)) if told.contains(missing)),
                "{words:?}"
            );
        }
        let without = said(&["--kind", "cleanup", "--every", "1h"]).over(None, None);
        assert!(without.is_ok_and(|of| written(&of).contains(r#""payload":null"#)));
    }

    #[test]
    fn only_what_stays_in_its_place_is_expected_to_be_there() {
        let of = |words: &[&str]| expected(&said(words), Some(&nightly()));
        assert_eq!(of(&["--queue", "default"]), Expected::Revision(7));
        assert_eq!(of(&["--no-key"]), Expected::Revision(7), "it has none");
        assert_eq!(of(&["--queue", "other"]), Expected::Any);
        assert_eq!(of(&["--key", "acme"]), Expected::Any);
        assert_eq!(expected(&said(&[]), None), Expected::Absent);
    }
}
