//! Locks of others, on one server.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use rslock::{Lock, LockManager};

use super::{client, raw_connection};

/// `SET NX PX`, and a script that deletes what is still one's own: the least that the job needs. It has
/// no fence, no line, no renewal.
#[derive(Clone)]
pub struct SetNx {
    connection: MultiplexedConnection,
    release: redis::Script,
}

const RELEASE: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then \
                       return redis.call('DEL', KEYS[1]) end return 0";

impl SetNx {
    pub async fn connect(url: &str) -> Self {
        let connection = raw_connection(url).await;
        Self { connection, release: redis::Script::new(RELEASE) }
    }

    pub async fn try_take(&self, name: &str, owner: u64, ttl: Duration) -> bool {
        let mut set = redis::cmd("SET");
        set.arg(name).arg(owner).arg("NX").arg("PX").arg(ttl.as_millis() as u64);
        let said: Option<String> =
            set.query_async(&mut self.connection.clone()).await.expect("a reply");
        said.is_some()
    }

    pub async fn release(&self, name: &str, owner: u64) {
        let mut release = self.release.key(name);
        let mut connection = self.connection.clone();
        let freed: u64 = release.arg(owner).invoke_async(&mut connection).await.expect("a reply");
        assert_eq!(freed, 1);
    }
}

/// rslock, as its documentation says to. Its waiters try again after a random pause of up to 200 ms.
#[derive(Clone)]
pub struct Rslock(LockManager);

impl Rslock {
    pub fn connect(url: &str) -> Self {
        Self(LockManager::from_clients(vec![client(url).expect("a URL")]))
    }

    /// Three attempts, of which the first one does where nobody else wants it.
    pub async fn take(&self, name: &str, ttl: Duration) -> Lock {
        self.0.lock(name, ttl).await.expect("a lock")
    }

    /// As many attempts as it takes.
    pub async fn wait(&self, name: &str, ttl: Duration) -> Lock {
        self.0.acquire(name, ttl).await.expect("a lock").lock
    }

    pub async fn release(&self, lock: &Lock) {
        self.0.unlock(lock).await;
    }
}
