//! `sinew cache warm`

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use reqwest::Method;

use super::place::{AtHub, InRedis, Place, Whose};
use super::print_json;
use crate::cache::body::WarmedBody;
use crate::cache::warm::{self, BroughtEntry, Existing, Tally};
use crate::cli::Outcome;
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
    /// Store every entry, also over one that is there
    #[arg(long)]
    replace: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

pub(super) async fn warm(args: WarmArgs) -> Result<(), Outcome> {
    let mut lines = Lines::open(&args.file)?;
    let place = args.whose.place(&args.cache).await?;
    let existing = if args.replace { Existing::Replaced } else { Existing::Kept };
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
            Place::Redis(redis) => store_in_redis(redis, batch, existing).await?,
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
    let check = |line: Line| {
        let checked = line.entry.check(redis.cache.name(), &redis.settings);
        checked.map_err(|what| Outcome::BadInput(format!("{}: {what}", line.place)))
    };
    let entries = batch.into_iter().map(check).collect::<Result<Vec<_>, Outcome>>()?;
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
    let texts: Vec<String> = batch.into_iter().map(|line| line.text).collect();
    let body = format!("[{}]", texts.join(","));
    read_reply(&request.send(Method::POST, Some(body)).await?.1)
}

fn add(sum: &mut WarmedBody, more: WarmedBody) {
    sum.stored += more.stored;
    sum.found += more.found;
    sum.failed += more.failed;
    sum.failure = sum.failure.take().or(more.failure);
}

/// An end in the middle says what is done already.
fn after(outcome: Outcome, sum: &WarmedBody) -> Outcome {
    let and = |message: String| match sum.stored {
        0 => message,
        stored => format!("{message}; {stored} entries before it were stored"),
    };
    match outcome {
        Outcome::Failed(message) => Outcome::Failed(and(message)),
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
}

struct Line {
    text: String,
    entry: BroughtEntry,
    /// File and line, for messages.
    place: String,
}

impl Lines {
    fn open(file: &Path) -> Result<Self, Outcome> {
        let name = file.display().to_string();
        if name == "-" {
            let reader = Box::new(BufReader::new(std::io::stdin()));
            return Ok(Self { reader, name, len: None, read: 0, number: 0 });
        }
        let opened = File::open(file).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (len, file) = opened.map_err(|error| {
            Outcome::BadInput(format!("cannot read {name}: {error}; expected a file of JSON lines"))
        })?;
        // Of a pipe or a device it is 0.
        let len = Some(len).filter(|len| *len > 0);
        Ok(Self { reader: Box::new(BufReader::new(file)), name, len, read: 0, number: 0 })
    }

    /// Some lines; none at the end.
    fn next_batch(&mut self) -> Result<Vec<Line>, Outcome> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < BATCH_ENTRIES && bytes < BATCH_BYTES {
            let Some(line) = self.next_line()? else { break };
            bytes += line.text.len();
            batch.push(line);
        }
        Ok(batch)
    }

    fn next_line(&mut self) -> Result<Option<Line>, Outcome> {
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
            let entry = warm::read_one(&text)
                .and_then(|entry| entry.check_ttl().map(|_| entry))
                .map_err(|what| Outcome::BadInput(format!("{place}: {what}")))?;
            return Ok(Some(Line { text, entry, place }));
        }
    }
}
