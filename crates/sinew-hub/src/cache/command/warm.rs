//! `sinew cache warm`

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use reqwest::Method;

use super::place::{AtHub, InRedis, Place, Whose, place};
use super::print_json;
use crate::cache::body::WarmedBody;
use crate::cache::brought::{self, Entry};
use crate::cache::warm::{self, Existing, Tally};
use crate::cli::Outcome;
use crate::cli::confirm::{Consent, consent};
use crate::cli::progress::Progress;
use crate::cli::request::read_reply;

/// What is sent at once: little enough to see it go forward.
const BATCH_ENTRIES: usize = 500;
const BATCH_BYTES: usize = 4 << 20;
/// What a hub takes in one piece.
const LINE_LEN_MAX: u64 = 32 << 20;

/// Which entries to store, and where.
#[derive(Args)]
pub struct WarmArgs {
    /// Name of the cache
    cache: String,
    /// One JSON object a line, or - to read them from standard input
    file: PathBuf,
    /// Store every entry, also over one that is there; asks first
    #[arg(long)]
    replace: bool,
    /// Do not ask
    #[arg(long, requires = "replace")]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

pub(super) async fn warm(args: WarmArgs) -> Result<(), Outcome> {
    let mut lines = Lines::open(&args.file)?;
    let place = place(&args.whose, &args.cache).await?;
    let existing = if args.replace { Existing::Replaced } else { Existing::Kept };
    if existing == Existing::Replaced {
        let (cache, whose) = (&args.cache, args.whose.shown());
        let what = format!("what cache {cache:?}{whose} in {place} has under the keys of");
        consent(Consent::of(args.yes), &format!("Replace {what} {}?", lines.name))?;
    }
    let progress = Progress::of(lines.len);
    let mut sum = WarmedBody::default();
    let ended = store_all(&mut lines, &place, existing, &progress, &mut sum).await;
    progress.end();
    ended.map_err(|outcome| after(outcome, &sum))?;
    if args.json {
        print_json(&sum)?;
    } else {
        println!("Stored {}, found {} there already.", sum.stored, sum.found);
    }
    match sum.failed {
        0 => Ok(()),
        failed => Err(Outcome::Failed(format!(
            "{failed} entries could not be stored: {}",
            sum.failure.unwrap_or_default()
        ))),
    }
}

async fn store_all(
    lines: &mut Lines,
    place: &Place,
    existing: Existing,
    progress: &Progress,
    sum: &mut WarmedBody,
) -> Result<(), Outcome> {
    loop {
        let batch = lines.next_batch()?;
        if batch.is_empty() {
            return Ok(());
        }
        let became = match place {
            Place::Redis(redis, _) => store_in_redis(redis, batch, existing).await?,
            Place::Hub(hub) => store_at_hub(hub, batch, existing).await?,
        };
        add(sum, became);
        progress.show(lines.read, &format!("{} entries", sum.stored + sum.found + sum.failed));
    }
}

async fn store_in_redis(
    redis: &InRedis,
    batch: Vec<Line>,
    existing: Existing,
) -> Result<WarmedBody, Outcome> {
    let mut entries = Vec::with_capacity(batch.len());
    for Line { entry, place, .. } in batch {
        let checked = redis.rules.check(&entry).await;
        checked.map_err(|what| Outcome::BadInput(format!("{place}: {what}")))?;
        entries.push(entry);
    }
    let Tally { stored, found, failed, failure } =
        warm::store(redis.cache.clone(), entries, existing).await;
    Ok(WarmedBody { stored, found, failed, failure: failure.map(|error| format!("{error:#}")) })
}

async fn store_at_hub(
    hub: &AtHub,
    batch: Vec<Line>,
    existing: Existing,
) -> Result<WarmedBody, Outcome> {
    let mut request = hub.request(&["warm"])?;
    if existing == Existing::Replaced {
        request.url.query_pairs_mut().append_pair("replace", "true");
    }
    request.content_type = "application/x-ndjson";
    let texts: Vec<&str> = batch.iter().map(|line| line.text.as_str()).collect();
    match request.send(Method::POST, Some(texts.join("\n"))).await {
        Ok((_, text)) => read_reply(&text),
        Err(Outcome::BadInput(message)) => Err(Outcome::BadInput(in_file(message, &batch))),
        Err(outcome) => Err(outcome),
    }
}

/// The hub counts the lines of what it was sent; people, those of the file.
fn in_file(message: String, batch: &[Line]) -> String {
    let told = || {
        let (place, what) = message.strip_prefix("line ")?.split_once(": ")?;
        let number: usize = place.split(',').next()?.parse().ok()?;
        Some(format!("{}: {what}", batch.get(number.checked_sub(1)?)?.place))
    };
    told().unwrap_or(message)
}

fn add(sum: &mut WarmedBody, more: WarmedBody) {
    sum.stored += more.stored;
    sum.found += more.found;
    sum.failed += more.failed;
    sum.failure = sum.failure.take().or(more.failure);
}

/// An end in the middle says what is done already.
fn after(outcome: Outcome, sum: &WarmedBody) -> Outcome {
    let stored = sum.stored;
    let and = |message: String| format!("{message}; {stored} entries before it were stored");
    match outcome {
        // Of what failed now, nobody knows.
        Outcome::Failed(message) if stored > 0 => Outcome::Failed(and(message)),
        Outcome::BadInput(message) => Outcome::BadInput(and(message)),
        other => other,
    }
}

/// A file of entries, read as they are needed.
struct Lines {
    reader: Box<dyn BufRead>,
    name: String,
    /// In bytes, where that is known.
    len: Option<u64>,
    read: u64,
    number: u64,
    /// One that was read, and belongs to the next batch.
    waiting: Option<Line>,
}

struct Line {
    text: String,
    entry: Entry,
    /// File and line, for messages.
    place: String,
}

impl Lines {
    fn open(file: &Path) -> Result<Self, Outcome> {
        let name = file.display().to_string();
        if name == "-" {
            return Ok(Self::of("standard input".to_owned(), None, std::io::stdin()));
        }
        let opened = File::open(file).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (len, file) = opened.map_err(|error| {
            Outcome::BadInput(format!("cannot read {name}: {error}; expected a file of JSON lines"))
        })?;
        // Of a pipe or a device it is 0.
        Ok(Self::of(name, Some(len).filter(|len| *len > 0), file))
    }

    fn of(name: String, len: Option<u64>, reader: impl Read + 'static) -> Self {
        let reader = Box::new(BufReader::new(reader));
        Self { reader, name, len, read: 0, number: 0, waiting: None }
    }

    /// Some lines; none at the end.
    fn next_batch(&mut self) -> Result<Vec<Line>, Outcome> {
        let (mut batch, mut bytes, mut keys) = (Vec::new(), 0, HashSet::new());
        while batch.len() < BATCH_ENTRIES {
            let Some(line) = self.next_line()? else { break };
            bytes += line.text.len();
            // Entries of a batch are stored in no order: a key that comes again waits for the next.
            let is_new = keys.insert(line.entry.key.as_str().to_owned());
            if !is_new || (bytes > BATCH_BYTES && !batch.is_empty()) {
                self.waiting = Some(line);
                break;
            }
            batch.push(line);
        }
        Ok(batch)
    }

    fn next_line(&mut self) -> Result<Option<Line>, Outcome> {
        if let Some(line) = self.waiting.take() {
            return Ok(Some(line));
        }
        loop {
            let mut text = String::new();
            self.number += 1;
            let place = format!("{}:{}", self.name, self.number);
            let read = self.reader.by_ref().take(LINE_LEN_MAX + 1).read_line(&mut text);
            let read = read.map_err(|error| {
                Outcome::BadInput(format!("{place}: {error}; expected lines of UTF-8 text"))
            })?;
            if read == 0 {
                return Ok(None);
            }
            self.read += read as u64;
            if read as u64 > LINE_LEN_MAX {
                return Err(Outcome::BadInput(format!(
                    "{place}: the line is too long: expected at most {LINE_LEN_MAX} bytes"
                )));
            }
            text.truncate(text.trim_end().len());
            if text.trim_start().is_empty() {
                continue;
            }
            let entry = brought::read_one(&text)
                .map_err(|what| Outcome::BadInput(format!("{place}: {what}")))?;
            return Ok(Some(Line { text, entry, place }));
        }
    }
}
