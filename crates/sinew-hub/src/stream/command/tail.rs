//! `sinew stream tail`

use std::fmt;
use std::str::FromStr;

use clap::Args;
use sinew::Streams;
use sinew::stream::Cursor;

use super::place::{Place, failed, in_words, place, unreadable};
use crate::cli::Outcome;
use crate::cli::place::AtHub;
use crate::cli::whose::Whose;
use crate::stream::body::EventBody;

/// Of what a line of a hub's may have.
const LINE_LEN_MAX: usize = 1 << 30;

/// Of which topic, and from where on.
#[derive(Args)]
pub struct TailArgs {
    /// Name of the topic
    topic: String,
    /// start: all that there is; now: what comes; or a cursor
    #[arg(long, value_name = "WHERE", default_value = "now")]
    from: Begins,
    /// The only partition to tell of
    #[arg(long, value_name = "N")]
    partition: Option<u16>,
    /// End after so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    whose: Whose,
}

/// Where a tail begins.
#[derive(Clone)]
enum Begins {
    Start,
    Now,
    After(Cursor),
}

impl FromStr for Begins {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "start" => Ok(Self::Start),
            "now" => Ok(Self::Now),
            text => text.parse().map(Self::After).map_err(|_| "expected start, now or a cursor"),
        }
    }
}

/// As the hub takes it.
impl fmt::Display for Begins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("start"),
            Self::Now => f.write_str("now"),
            Self::After(cursor) => cursor.fmt(f),
        }
    }
}

pub(super) async fn tail(args: &TailArgs) -> Result<(), Outcome> {
    let left = args.count.unwrap_or(u64::MAX);
    match place(&args.whose).await? {
        Place::Redis(streams, _) => in_redis(&streams, args, left).await,
        Place::Hub(hub) => at_hub(&hub, args, left).await,
    }
}

async fn in_redis(streams: &Streams, args: &TailArgs, mut left: u64) -> Result<(), Outcome> {
    let known = streams.look(&args.topic).await.map_err(failed)?;
    known.ok_or_else(|| Outcome::NoSuchStream(format!("no topic {:?}", args.topic)))?;
    let mut tail = streams.tail(&args.topic);
    if let Some(partition) = args.partition {
        tail = tail.partition(partition);
    }
    tail = match &args.from {
        Begins::Now => tail,
        Begins::Start => tail.from_start(),
        Begins::After(cursor) => tail.after(cursor.clone()),
    };
    let mut tail = tail.open().await.map_err(failed)?;
    while let Some(stored) = tail.next().await {
        let stored = stored.map_err(|error| cut_off(failed(error), &tail.cursor().to_string()))?;
        let event = EventBody::of(&stored).map_err(unreadable)?;
        println!("{}", serde_json::to_string(&event).map_err(unreadable)?);
        left -= 1;
        if left == 0 {
            break;
        }
    }
    eprintln!("cursor: {}", tail.cursor());
    Ok(())
}

async fn at_hub(hub: &AtHub, args: &TailArgs, mut left: u64) -> Result<(), Outcome> {
    let mut request = hub.request(&[&args.topic, "tail"])?;
    request.url.query_pairs_mut().append_pair("from", &args.from.to_string());
    if let Some(partition) = args.partition {
        request.url.query_pairs_mut().append_pair("partition", &partition.to_string());
    }
    let mut reply = request.open().await?;
    let status = reply.status();
    if !status.is_success() {
        let text = reply.text().await.unwrap_or_default();
        return Err(match request.refused(status, &text) {
            Outcome::BadInput(told) if status == reqwest::StatusCode::NOT_FOUND => {
                Outcome::NoSuchStream(in_words(&told))
            }
            other => other,
        });
    }
    let (mut lines, mut cursor, mut id_told) = (Lines::default(), args.from.to_string(), None);
    let broken = |e: reqwest::Error| Outcome::Failed(format!("the hub hung up: {e}"));
    while let Some(chunk) = reply.chunk().await.map_err(|e| cut_off(broken(e), &cursor))? {
        lines.add(&chunk)?;
        while let Some(line) = lines.next() {
            if let Some(id) = line.strip_prefix("id:") {
                id_told = Some(id.trim_start().to_owned());
            } else if let Some(data) = line.strip_prefix("data:") {
                println!("{}", data.trim_start());
                left -= 1;
            } else if line.strip_prefix(':').is_some_and(|comment| comment.trim() == "gap") {
                eprintln!("some events after this cursor may have been trimmed");
            } else if line.is_empty() {
                // An id comes after its data, or before it: only now both are there.
                cursor = id_told.take().unwrap_or(cursor);
                if left == 0 {
                    eprintln!("cursor: {cursor}");
                    return Ok(());
                }
            }
        }
    }
    Err(cut_off(Outcome::Failed("the hub hung up".to_owned()), &cursor))
}

/// How to go on where what was read from has failed.
fn cut_off(outcome: Outcome, cursor: &str) -> Outcome {
    match outcome {
        Outcome::Failed(what) => Outcome::Failed(format!("{what}: go on with --from {cursor}")),
        other => other,
    }
}

/// Lines of what comes in pieces.
#[derive(Default)]
struct Lines {
    text: Vec<u8>,
}

impl Lines {
    fn add(&mut self, chunk: &[u8]) -> Result<(), Outcome> {
        if self.text.len() + chunk.len() > LINE_LEN_MAX {
            return Err(Outcome::Failed("the hub sends a line without an end".to_owned()));
        }
        self.text.extend_from_slice(chunk);
        Ok(())
    }

    fn next(&mut self) -> Option<String> {
        let end = self.text.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.text.drain(..=end).collect();
        let line = String::from_utf8_lossy(&line);
        Some(line.trim_end_matches(['\n', '\r']).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_from_pieces() {
        let mut lines = Lines::default();
        let mut read = Vec::new();
        for piece in ["id: 1", "-0\r\nda", "ta: {\"n\":\"é\"}\n\n: gap", "\n"] {
            assert!(lines.add(piece.as_bytes()).is_ok());
            while let Some(line) = lines.next() {
                read.push(line);
            }
        }
        assert_eq!(read, ["id: 1-0", "data: {\"n\":\"é\"}", "", ": gap"]);
    }
}
