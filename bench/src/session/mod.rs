//! Sessions beside the least that the job needs, and beside another store of them.

mod change;
mod load;

use sinew::Sinew;
use sinew::session::{Login, SessionToken, Sessions};
use tokio::task::spawn_blocking;

use crate::measure::{Effort, Row};
use crate::peer::raw_connection;
use crate::world::start_redis;

const TASKS: u64 = 64;
/// Of as many users.
const SESSIONS: u64 = 1_000;
/// What is in a session, beside what changes.
const CART: [&str; 3] = ["tea", "honey", "a cup"];

pub async fn run(effort: Effort) -> Vec<Row> {
    let server = spawn_blocking(start_redis).await.expect("a server");
    let url = format!("redis://127.0.0.1:{}", server.port);
    let (sessions, tokens) = logged_in(&url, SESSIONS).await;
    let raw = raw_connection(&url).await;
    let mut rows = vec![load::row(effort, &sessions, &tokens, &raw).await];
    rows.extend(change::rows(effort, &url, &sessions, &tokens).await);
    rows.push(load::round_trips().await);
    rows
}

/// So many sessions, each of a user, and what opens them.
async fn logged_in(url: &str, count: u64) -> (Sessions, Vec<SessionToken>) {
    let sinew = Sinew::connect(url).await.expect("a connection");
    let sessions = sinew.tenant("acme").expect("a tenant").sessions().build().expect("sessions");
    let mut tokens = Vec::new();
    for user in 0..count {
        let session = sessions.begin();
        session.set("cart", &CART).expect("a good name");
        session.set("seen", &0_u64).expect("a good name");
        let login = session.login(&format!("user-{user}")).await.expect("an answer");
        assert_eq!(login, Login::Done);
        tokens.push(session.token().expect("it is stored"));
    }
    (sessions, tokens)
}
