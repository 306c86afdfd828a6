//! What a request does that changes something: it loads a session, looks into it, and saves one datum.

use std::sync::Arc;
use std::time::Duration;

use sinew::Sinew;
use sinew::session::{Saved, SessionToken, Sessions, TowerSessionStore};

use super::{SESSIONS, TASKS};
use crate::measure::{Effort, Row, in_turn, rate};
use crate::peer::sessions::{Adapter, Change, TowerRedis};

const PEER: &str = "tower-sessions-redis-store";

pub async fn rows(
    effort: Effort,
    url: &str,
    sessions: &Sessions,
    tokens: &[SessionToken],
) -> Vec<Row> {
    let ours = Ours { sessions: sessions.clone(), tokens: tokens.into() };
    let theirs = TowerRedis::connect(url, SESSIONS).await;
    let sinew = Sinew::connect(url).await.expect("a connection");
    let settings = sinew.tenant("acme").expect("a tenant").sessions();
    let store = TowerSessionStore::new(settings).expect("a store");
    let adapter = Adapter::create(store, SESSIONS).await;
    vec![
        beside(effort, "session.load_save", &ours, &theirs).await,
        beside(effort, "session.load_save_adapter", &adapter, &theirs).await,
    ]
}

async fn beside(
    effort: Effort,
    bench: &'static str,
    ours: &impl Change,
    theirs: &TowerRedis,
) -> Row {
    let our_changes = async |time| changes(ours, time).await;
    let their_changes = async |time| changes(theirs, time).await;
    let (ours, theirs) = in_turn(effort, bench, our_changes, their_changes).await;
    Row::of_rates(bench, PEER, ours, theirs)
}

async fn changes(store: &impl Change, time: Duration) -> f64 {
    let store = store.clone();
    let change = move |n: u64| {
        let store = store.clone();
        async move { store.change((n % SESSIONS) as usize, n).await }
    };
    rate(TASKS, time, change).await
}

#[derive(Clone)]
struct Ours {
    sessions: Sessions,
    tokens: Arc<[SessionToken]>,
}

impl Change for Ours {
    async fn change(&self, session: usize, seen: u64) {
        let session = self.sessions.open(self.tokens[session].clone());
        let before: Option<u64> = session.get("seen").await.expect("an answer");
        before.expect("it is live");
        session.set("seen", &seen).expect("a good name");
        assert_eq!(session.save().await.expect("an answer"), Saved::Done);
    }
}
