//! `sinew flag set`

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};
use sinew::flag::Flag;

use super::list::json_of;
use super::place::Whereabouts;
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
    let wanted = flag_of(wanted)?;
    let (key, whose) = (&args.key, args.whereabouts.shown());
    let what = format!("flag {key:?}{whose} in {place}");
    let after = match args.dry_run {
        true => Some(wanted),
        false => place.put(key, wanted, found.as_ref().map(|flag| flag.revision)).await?,
    };
    let after = after.as_ref().map(json_of).transpose()?;
    if args.json {
        let revision = after.as_ref().filter(|_| !args.dry_run).map(|after| &after["revision"]);
        return print_json(&json!({ "before": before, "after": after, "revision": revision }));
    }
    let done = match (args.dry_run, &before) {
        (false, Some(_)) => "Changed",
        (false, None) => "Made",
        (true, Some(_)) => "Would change",
        (true, None) => "Would make",
    };
    println!("{done} {what}.");
    for line in diff::lines(before.as_ref(), after.as_ref()) {
        println!("  {}", harmless(&line));
    }
    Ok(())
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
