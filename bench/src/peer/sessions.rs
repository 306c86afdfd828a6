//! The store of `tower-sessions` on Redis, and ours behind the same trait, of its next version.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};
use sinew::session::TowerSessionStore;
use time::{Duration, OffsetDateTime};
use tower_sessions_core::SessionStore as _;
use tower_sessions_core::session::{Id, Record};
use tower_sessions_core_of_store::SessionStore as _;
use tower_sessions_core_of_store::session as of_store;
use tower_sessions_redis_store::RedisStore;
use tower_sessions_redis_store::fred::prelude::{
    ClientLike as _, Config, ConnectionConfig, Pool, TcpConfig,
};

/// As its documentation has it.
const CONNECTIONS: usize = 6;

/// Whoever loads a session, looks into it, and saves it with another datum. Cheap to clone.
pub trait Change: Clone + Send + Sync + 'static {
    fn change(&self, session: usize, seen: u64) -> impl Future<Output = ()> + Send;
}

#[derive(Clone)]
pub struct TowerRedis {
    store: RedisStore<Pool>,
    ids: Arc<[of_store::Id]>,
}

impl TowerRedis {
    /// With so many sessions.
    pub async fn connect(url: &str, sessions: u64) -> Self {
        let config = Config::from_url(url).expect("a URL");
        // Otherwise it leaves Nagle's delay on.
        let tcp = TcpConfig { nodelay: Some(true), ..TcpConfig::default() };
        let connection = ConnectionConfig { tcp, ..ConnectionConfig::default() };
        let pool = Pool::new(config, None, Some(connection), None, CONNECTIONS).expect("a pool");
        let _connecting = pool.connect();
        pool.wait_for_connect().await.expect("connections");
        let store = RedisStore::new(pool);
        let mut ids = Vec::new();
        for user in 0..sessions {
            let id = of_store::Id::default();
            let mut record = of_store::Record { id, data: data(user), expiry_date: tomorrow() };
            store.create(&mut record).await.expect("stored");
            ids.push(record.id);
        }
        Self { store, ids: ids.into() }
    }
}

impl Change for TowerRedis {
    async fn change(&self, session: usize, seen: u64) {
        let record = self.store.load(&self.ids[session]).await.expect("an answer");
        let mut record = record.expect("it is live");
        let before = record.data.insert("seen".to_owned(), json!(seen));
        before.expect("what was there");
        self.store.save(&record).await.expect("saved");
    }
}

/// Ours, where a service has its sessions from `tower-sessions`.
#[derive(Clone)]
pub struct Adapter {
    store: TowerSessionStore,
    ids: Arc<[Id]>,
}

impl Adapter {
    /// With so many sessions.
    pub async fn create(store: TowerSessionStore, sessions: u64) -> Self {
        let mut ids = Vec::new();
        for user in 0..sessions {
            let id = Id::default();
            let mut record = Record { id, data: data(user), expiry_date: tomorrow() };
            store.create(&mut record).await.expect("stored");
            ids.push(record.id);
        }
        Self { store, ids: ids.into() }
    }
}

impl Change for Adapter {
    async fn change(&self, session: usize, seen: u64) {
        let record = self.store.load(&self.ids[session]).await.expect("an answer");
        let mut record = record.expect("it is live");
        let before = record.data.insert("seen".to_owned(), json!(seen));
        before.expect("what was there");
        self.store.save(&record).await.expect("saved");
    }
}

/// What ours has, and whose it is.
fn data(user: u64) -> HashMap<String, Value> {
    let cart = json!(["tea", "honey", "a cup"]);
    let data = [("user", json!(format!("user-{user}"))), ("cart", cart), ("seen", json!(0))];
    data.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn tomorrow() -> OffsetDateTime {
    OffsetDateTime::now_utc() + Duration::days(1)
}
