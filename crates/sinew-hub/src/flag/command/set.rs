//! `sinew flag set`

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sinew::flag::Flag;

use super::list::json_of;
use super::place::{Whereabouts, outdated};
use super::terms::Terms;
use crate::cli::table::harmless;
use crate::cli::{Outcome, print_json};
use crate::flag::diff;

/// As long as a hub takes.
const FILE_LEN_MAX: u64 = 1 << 20;

/// What a flag is to be, and where.
#[derive(Args)]
pub struct SetArgs {
    /// Key of the flag: 1 to 100 of A-Z a-z 0-9 . _ -
    key: String,
    #[command(flatten)]
    terms: Terms,
    /// The whole flag as JSON, or - to read it from standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Only say what would be changed
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whereabouts: Whereabouts,
}

pub(super) async fn set(args: &SetArgs) -> Result<(), Outcome> {
    // What is wrong with a file is told before anyone is asked.
    let file = match (&args.file, args.terms.are_none()) {
        (Some(file), true) => Some(read(file)?),
        (Some(_), false) => {
            return Err(Outcome::BadInput(
                "--file: it says all of a flag: expected nothing else of it".to_owned(),
            ));
        }
        (None, true) => {
            return Err(Outcome::BadInput(
                "nothing is said of the flag: expected on, off, --rollout, --file or others that `sinew flag set --help` has"
                    .to_owned(),
            ));
        }
        (None, false) => None,
    };
    let place = args.whereabouts.place().await?;
    let found = place.flag(&args.key).await?;
    let before = found.as_ref().map(json_of).transpose()?;
    let wanted = match file {
        Some(flag) => flag,
        None => args.terms.over(before.as_ref().and_then(Value::as_object).cloned()),
    };
    let mut wanted = flag_of(wanted)?;
    let known = found.as_ref().map(|found| found.revision);
    // What was read into a file may be long ago.
    let (expected, late) = match (&args.file, wanted.revision) {
        (Some(_), revision @ 1..) => (Some(revision), outdated(&args.key, revision)),
        _ => (known, place.overtaken(&args.key)),
    };
    // As it will be: `revive` alone ends that.
    wanted.killed |= found.as_ref().is_some_and(|found| found.killed);
    let (key, whose) = (&args.key, args.whereabouts.shown());
    let what = format!("flag {key:?}{whose} in {place}");
    let at = format!("{key}{}", args.whereabouts.words());
    let after = match args.dry_run {
        true if expected != known => return Err(late),
        true => Some(wanted),
        false => place.put(key, wanted, expected, late).await?,
    };
    let after = after.as_ref().map(json_of).transpose()?;
    for doubt in after.iter().flat_map(|after| doubts(&at, after, &args.terms, Timestamp::now())) {
        eprintln!("warning: {doubt}");
    }
    if args.json {
        let revision = after.as_ref().filter(|_| !args.dry_run).map(|after| &after["revision"]);
        return print_json(&json!({ "before": before, "after": after, "revision": revision }));
    }
    let lines = diff::lines(before.as_ref(), after.as_ref());
    match (args.dry_run, &before, lines.is_empty()) {
        (false, Some(_), true) => println!("Nothing was changed: {what} is that already."),
        (true, Some(_), true) => println!("Would change nothing: {what} is that already."),
        (false, Some(_), false) => println!("Changed {what}."),
        (false, None, _) => println!("Made {what}."),
        (true, Some(_), false) => println!("Would change {what}."),
        (true, None, _) => println!("Would make {what}."),
    }
    for line in lines {
        println!("  {}", harmless(&line));
    }
    Ok(())
}

/// Why people see something else than someone who has said that may think, and what to do about it. `at` is a key, and
/// where it is, as a command takes them: elsewhere, a flag of this key is another.
fn doubts(at: &str, flag: &Value, terms: &Terms, now: Timestamp) -> Vec<String> {
    let expires_at = flag["expires_at"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
    let mut doubts = Vec::new();
    if flag["killed"] == true {
        doubts.push(format!(
            "it is killed, and stays off for everyone: `sinew flag revive {at}` ends that"
        ));
    } else if expires_at.is_some_and(|at| at <= now) {
        doubts.push(format!(
            "it has expired, so that everyone gets what the code says: `sinew flag set {at} --expires-at none` ends that"
        ));
    } else if flag["enabled"] == false && terms.would_be_seen(flag) {
        doubts.push(format!("it is off, and stays off: `sinew flag set {at} on` ends that"));
    }
    doubts.extend(terms.doubt(at, flag));
    doubts
}

fn flag_of(fields: Map<String, Value>) -> Result<Flag, Outcome> {
    let flag: Flag = serde_json::from_value(Value::Object(fields))
        .map_err(|error| Outcome::BadInput(format!("invalid flag: {error}")))?;
    flag.validate().map_err(|error| Outcome::of(&error))?;
    Ok(flag)
}

fn read(file: &Path) -> Result<Map<String, Value>, Outcome> {
    let mut text = Vec::new();
    let read = match file.to_str() {
        Some("-") => std::io::stdin().lock().take(FILE_LEN_MAX + 1).read_to_end(&mut text),
        _ => std::fs::File::open(file)
            .and_then(|opened| opened.take(FILE_LEN_MAX + 1).read_to_end(&mut text)),
    };
    let shown = file.display();
    let length = read.map_err(|error| {
        Outcome::BadInput(format!("cannot read {shown}: {error}; expected a flag as JSON"))
    })?;
    if u64::try_from(length).unwrap_or(u64::MAX) > FILE_LEN_MAX {
        return Err(Outcome::BadInput(format!(
            "{shown} is too long: expected at most {FILE_LEN_MAX} bytes"
        )));
    }
    serde_json::from_slice(&text).map_err(|error| {
        Outcome::BadInput(format!(
            "{shown}: {error}; expected a flag as JSON, like that of `sinew flag get`"
        ))
    })
}
