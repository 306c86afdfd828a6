//! `sinew flag why`

use clap::Args;

use super::list::warn_of;
use super::place::Whereabouts;
use crate::cli::table::harmless;
use crate::cli::{Outcome, print_json};
use crate::flag::body::WhyBody;

/// Which flag, who sees it, and where.
#[derive(Args)]
pub struct WhyArgs {
    /// Key of the flag
    key: String,
    /// Who sees it
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// What is known of them; may be repeated
    #[arg(long = "with", value_name = "NAME=VALUE")]
    attributes: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whereabouts: Whereabouts,
}

pub(super) async fn why(args: &WhyArgs) -> Result<(), Outcome> {
    let place = args.whereabouts.place().await?;
    let why = place.why(&args.key, args.user.as_deref(), &args.attributes).await?;
    if args.json {
        return print_json(&why);
    }
    println!("{}", harmless(&answer(&why)));
    for step in &why.steps {
        println!("  {}", harmless(step));
    }
    warn_of(&why.state);
    Ok(())
}

fn answer(why: &WhyBody) -> String {
    if let (Some(error), Some(details)) = (&why.error, &why.error_details) {
        return format!("{error}: {details}");
    }
    let value = match &why.value {
        Some(value) => value.to_string(),
        None => "what the code says by itself".to_owned(),
    };
    let variant = why.variant.as_ref().map(|variant| format!(" ({variant})"));
    let rule = why.rule.map(|rule| format!(" {rule}"));
    let name = why.rule_name.as_ref().map(|name| format!(" {name:?}"));
    let bucket = why.bucket.map(|bucket| format!(", bucket {bucket} of 100000"));
    format!(
        "{value}{}, decided by {}{}{}{}",
        variant.unwrap_or_default(),
        why.decided_by,
        rule.unwrap_or_default(),
        name.unwrap_or_default(),
        bucket.unwrap_or_default(),
    )
}
