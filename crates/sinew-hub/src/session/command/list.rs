//! `sinew session list`

use clap::Args;
use jiff::Timestamp;

use super::place::{listed, place};
use crate::cli::table::table;
use crate::cli::whose::Whose;
use crate::cli::{Outcome, print_json};
use crate::duration::shown;
use crate::session::between;
use crate::session::body::SessionBody;

/// Whose sessions, and where.
#[derive(Args)]
pub struct ListArgs {
    /// Who is logged in
    user: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

pub(super) async fn list(args: &ListArgs) -> Result<(), Outcome> {
    let place = place(&args.whose).await?;
    let sessions = listed(&place, &args.user).await?;
    if args.json {
        return print_json(&sessions);
    }
    if sessions.is_empty() {
        println!("No session of user {:?}{} in {place}.", args.user, args.whose.shown());
        return Ok(());
    }
    let now = Timestamp::now();
    let rows: Vec<[String; 5]> = sessions.iter().map(|session| row(session, now)).collect();
    print!("{}", table(["FROM", "SESSION", "AGE", "UNUSED", "LEFT"], &rows));
    Ok(())
}

fn row(session: &SessionBody, now: Timestamp) -> [String; 5] {
    let address = session.address.map(|address| address.to_string());
    let from: Vec<String> = address.into_iter().chain(session.device.clone()).collect();
    [
        // First, where it is cut if there is no room.
        if from.is_empty() { "–".to_owned() } else { from.join(" ") },
        session.id.clone(),
        shown(between(session.created_at, now)),
        shown(between(session.seen_at, now)),
        // Unless it is used, and then at most until it ends anyway.
        shown(between(now, session.expires_at.min(session.ends_at))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_sessions_fits_a_terminal_and_shows_their_ids_whole() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let now = at(1_800_000_000);
        let session = SessionBody {
            id: "nq0jYJ2vVZ3r5sT1kX8b4g".to_owned(),
            user: Some("ada".to_owned()),
            created_at: at(1_799_900_000),
            seen_at: at(1_799_999_941),
            expires_at: at(1_800_001_741),
            ends_at: at(1_800_000_700),
            device: Some("Mozilla/5.0 (X11; Linux x86_64; rv:140.0)\u{1b}[2J".to_owned()),
            address: "2001:db8:1234:5678:9abc:def0:1234:5678".parse().ok(),
            names: Vec::new(),
            version: 1,
        };
        let cells = row(&session, now);
        assert_eq!(cells[2..], ["1 d 3 h", "59 s", "11 min 40 s"]);
        let text = table(["FROM", "SESSION", "AGE", "UNUSED", "LEFT"], &[cells]);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains(&session.id) && text.contains("2001:db8:"), "{text}");
        let unknown = SessionBody { device: None, address: None, ..session };
        assert_eq!(row(&unknown, now)[0], "–");
    }
}
