//! `sinew stream dead`, `redrive` and `drop-dead`

use clap::Args;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use sinew::stream::Place as At;

use super::place::{Place, ask, failed, get, group_of, place, topic, typed, unreadable};
use crate::cli::confirm::{Consent, consent};
use crate::cli::place::AtHub;
use crate::cli::request::read_reply;
use crate::cli::table::table;
use crate::cli::whose::Whose;
use crate::cli::{Outcome, print_json};
use crate::duration::shown;
use crate::session::between;
use crate::stream::body::{LetterBody, LettersBody, ReasonBody, RedrivenBody, RemovedBody};
use crate::stream::http::dead::PLACES_MAX;

/// Which group.
#[derive(Args)]
pub struct DeadArgs {
    /// Name of the topic
    topic: String,
    /// Name of the group
    group: String,
    /// By what went wrong, the most frequent first
    #[arg(long)]
    errors: bool,
    /// How many letters: 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,
    /// Begin after this letter
    #[arg(long, value_name = "PLACE")]
    after: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

/// Which letters.
#[derive(Args)]
pub struct RedriveArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// Say how many would be given back, and give back none
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

/// Which letters.
#[derive(Args)]
pub struct DropDeadArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// Say how many would be removed, and remove none
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

/// Some letters of a group, or all.
#[derive(Args)]
struct WhichArgs {
    /// Name of the topic
    topic: String,
    /// Name of the group
    group: String,
    /// Where letters are, as `sinew stream dead` shows them; or --all
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    places: Vec<String>,
    /// All that there are now
    #[arg(long)]
    all: bool,
}

impl WhichArgs {
    fn places(&self) -> Result<Vec<At>, Outcome> {
        match self.places.len() {
            0..=PLACES_MAX => self.places.iter().map(|text| typed(text)).collect(),
            many => Err(Outcome::BadInput(format!(
                "{many} places are too many: expected at most {PLACES_MAX}, or --all"
            ))),
        }
    }

    fn body(&self) -> Value {
        match self.all {
            true => json!({ "all": true }),
            false => json!({ "places": self.places }),
        }
    }

    /// In words.
    fn shown(&self, whose: &Whose, place: &Place) -> String {
        let which = if self.all { "all dead letters" } else { "dead letters" };
        let (topic, group) = (&self.topic, &self.group);
        format!("{which} of group {group:?} of topic {topic:?}{} in {place}", whose.shown())
    }

    /// How many are meant, at most, of a group that is there, or has left some.
    async fn count(&self, place: &Place) -> Result<Option<u64>, Outcome> {
        let all = letters_of(place, &self.topic, &self.group).await?;
        match self.all {
            true => Ok(all),
            false => Ok(u64::try_from(self.places.len()).ok()),
        }
    }
}

pub(super) async fn dead(args: &DeadArgs) -> Result<(), Outcome> {
    let place = place(&args.whose).await?;
    if args.errors {
        return errors(args, &place).await;
    }
    let letters = letters(args, &place).await?;
    if args.json {
        return print_json(&letters);
    }
    if letters.letters.is_empty() {
        println!("{}", none(args, &place));
        return Ok(());
    }
    let now = Timestamp::now();
    let rows: Vec<[String; 4]> = letters.letters.iter().map(|one| row(one, now)).collect();
    print!("{}", table(["REASON", "TRIES", "DEAD FOR", "PLACE"], &rows));
    if let Some(next) = &letters.next {
        println!("More, if there are any: --after {next}");
    }
    Ok(())
}

fn none(args: &DeadArgs, place: &Place) -> String {
    let (topic, group) = (&args.topic, &args.group);
    let whose = args.whose.shown();
    format!("No dead letter of group {group:?} of topic {topic:?}{whose} in {place}.")
}

fn row(letter: &LetterBody, now: Timestamp) -> [String; 4] {
    [
        letter.reason.clone(),
        letter.attempts.to_string(),
        shown(between(letter.dead_at, now)),
        letter.place.clone(),
    ]
}

async fn letters(args: &DeadArgs, place: &Place) -> Result<LettersBody, Outcome> {
    let after = args.after.as_deref().map(typed).transpose()?;
    let count = usize::from(args.count);
    match place {
        Place::Redis(streams, _) => {
            let dead = streams.dead(&args.topic, &args.group);
            let found = dead.list(after.as_ref(), count).await.map_err(failed)?;
            if found.is_empty() {
                letters_of(place, &args.topic, &args.group).await?;
            }
            let next = found.last().map(|last| last.place.to_string());
            let letters: serde_json::Result<_> = found.into_iter().map(LetterBody::of).collect();
            Ok(LettersBody { letters: letters.map_err(unreadable)?, next })
        }
        Place::Hub(hub) => page(hub, &args.topic, &args.group, after.as_ref(), count).await,
    }
}

async fn page(
    hub: &AtHub,
    topic: &str,
    group: &str,
    after: Option<&At>,
    count: usize,
) -> Result<LettersBody, Outcome> {
    let mut request = hub.request(&[topic, "groups", group, "dead"])?;
    request.url.query_pairs_mut().append_pair("count", &count.to_string());
    if let Some(after) = after {
        request.url.query_pairs_mut().append_pair("after", &after.to_string());
    }
    get(&request).await
}

/// How many letters a group has. One that is not there any more may have left some: `None`.
async fn letters_of(place: &Place, of: &str, name: &str) -> Result<Option<u64>, Outcome> {
    let gone = match group_of(topic(place, of).await?, name) {
        Ok(found) => return Ok(Some(found.dead)),
        Err(gone) => gone,
    };
    let has_left = match place {
        Place::Redis(streams, _) => {
            !streams.dead(of, name).list(None, 1).await.map_err(failed)?.is_empty()
        }
        Place::Hub(hub) => !page(hub, of, name, None, 1).await?.letters.is_empty(),
    };
    if has_left { Ok(None) } else { Err(gone) }
}

async fn reasons(place: &Place, of: &str, group: &str) -> Result<Vec<ReasonBody>, Outcome> {
    match place {
        Place::Redis(streams, _) => {
            let found = streams.dead(of, group).groups().await.map_err(failed)?;
            if found.is_empty() {
                letters_of(place, of, group).await?;
            }
            Ok(found.into_iter().map(ReasonBody::from).collect())
        }
        Place::Hub(hub) => get(&hub.request(&[of, "groups", group, "dead", "errors"])?).await,
    }
}

async fn errors(args: &DeadArgs, place: &Place) -> Result<(), Outcome> {
    let reasons = reasons(place, &args.topic, &args.group).await?;
    if args.json {
        return print_json(&reasons);
    }
    if reasons.is_empty() {
        println!("{}", none(args, place));
        return Ok(());
    }
    let now = Timestamp::now();
    let row = |of: &ReasonBody| {
        [
            of.reason.clone(),
            of.count.to_string(),
            shown(between(of.first, now)),
            shown(between(of.last, now)),
            of.example.clone(),
        ]
    };
    let rows: Vec<[String; 5]> = reasons.iter().map(row).collect();
    print!("{}", table(["REASON", "LETTERS", "FIRST", "LAST", "EXAMPLE"], &rows));
    Ok(())
}

pub(super) async fn redrive(args: &RedriveArgs) -> Result<(), Outcome> {
    let (which, places) = (&args.which, args.which.places()?);
    let place = place(&args.whose).await?;
    let what = which.shown(&args.whose, &place);
    if args.dry_run {
        return would("redriven", &what, which.count(&place).await?, args.json);
    }
    let redriven = match &place {
        Place::Redis(streams, _) => {
            // A hub says itself what is not there.
            which.count(&place).await?;
            let dead = streams.dead(&which.topic, &which.group);
            match which.all {
                true => dead.redrive_all().await,
                false => dead.redrive(&places).await,
            }
            .map_err(failed)?
        }
        Place::Hub(hub) => {
            let text = sent(hub, which, &["dead", "redrive"], Method::POST).await?;
            read_reply::<RedrivenBody>(&text)?.redriven
        }
    };
    if args.json {
        return print_json(&RedrivenBody { redriven });
    }
    println!("Gave back {redriven} of {what}.");
    Ok(())
}

pub(super) async fn drop_dead(args: &DropDeadArgs) -> Result<(), Outcome> {
    let (which, places) = (&args.which, args.which.places()?);
    let place = place(&args.whose).await?;
    let what = which.shown(&args.whose, &place);
    if args.dry_run {
        return would("removed", &what, which.count(&place).await?, args.json);
    }
    if which.all && !args.yes {
        let count = which.count(&place).await?;
        let now = count.map_or_else(String::new, |count| format!(", {count} now"));
        consent(Consent::ToBeAsked, &format!("Remove {what}{now}?"))?;
    }
    let removed = match &place {
        Place::Redis(streams, _) => {
            // A hub says itself what is not there.
            which.count(&place).await?;
            let dead = streams.dead(&which.topic, &which.group);
            match which.all {
                true => dead.remove_all().await,
                false => dead.remove(&places).await,
            }
            .map_err(failed)?
        }
        Place::Hub(hub) => {
            let text = sent(hub, which, &["dead"], Method::DELETE).await?;
            read_reply::<RemovedBody>(&text)?.removed
        }
    };
    if args.json {
        return print_json(&RemovedBody { removed });
    }
    println!("Removed {removed} of {what}.");
    Ok(())
}

/// What a hub replies to an act on letters.
async fn sent(
    hub: &AtHub,
    which: &WhichArgs,
    act: &[&str],
    method: Method,
) -> Result<String, Outcome> {
    let path = [&[which.topic.as_str(), "groups", which.group.as_str()][..], act].concat();
    ask(&hub.request(&path)?, method, Some(which.body())).await
}

fn would(done: &str, what: &str, count: Option<u64>, json: bool) -> Result<(), Outcome> {
    if json {
        return print_json(&json!({ "would": done, "count": count }));
    }
    match count {
        Some(count) => println!("At most {count} would be {done} of {what}."),
        // Nobody counts what a group has left.
        None => println!("Those that are left would be {done} of {what}."),
    }
    Ok(())
}
