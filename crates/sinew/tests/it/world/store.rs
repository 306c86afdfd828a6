//! What a law runs on: a store, and clients of it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::{SHARED_CLUSTER, SHARED_REDIS, SHARED_VALKEY};

/// What a law runs on.
#[derive(Clone)]
pub struct Store {
    kind: Kind,
    pub prefix: String,
}

#[derive(Clone)]
enum Kind {
    Memory(sinew::Sinew),
    Url(String),
}

impl Store {
    // As the others are, for `laws!`.
    #[allow(clippy::unused_async)]
    pub async fn memory() -> Self {
        let prefix = unique_prefix();
        let sinew = sinew::Sinew::builder().prefix(&prefix).embedded();
        Self { kind: Kind::Memory(sinew.expect("an embedded store")), prefix }
    }

    pub async fn redis() -> Self {
        Self::at(|| format!("redis://127.0.0.1:{}", SHARED_REDIS.port)).await
    }

    pub async fn valkey() -> Self {
        Self::at(|| format!("valkey://127.0.0.1:{}", SHARED_VALKEY.port)).await
    }

    pub async fn cluster() -> Self {
        Self::at(|| SHARED_CLUSTER.url()).await
    }

    async fn at(url: impl FnOnce() -> String + Send + 'static) -> Self {
        // The first one to ask waits for the server to start.
        let url = tokio::task::spawn_blocking(url).await.expect("a server");
        Self { kind: Kind::Url(url), prefix: unique_prefix() }
    }

    /// A client as another process would have it: its own connection and its own loads under
    /// way. The embedded store is one process by nature: there it is the same client.
    pub async fn process(&self) -> sinew::Sinew {
        match &self.kind {
            Kind::Memory(sinew) => sinew.clone(),
            Kind::Url(url) => {
                let builder = sinew::Sinew::builder().prefix(&self.prefix);
                // A machine that compiles beside it may stall for longer than a service would.
                let builder = builder.deadline(Duration::from_secs(10));
                builder.connect(url).await.expect("a connection")
            }
        }
    }

    /// A client, seen as one tenant.
    pub async fn tenant(&self, name: &str) -> sinew::Sinew {
        self.process().await.tenant(name).expect("a tenant")
    }
}

fn unique_prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("law{}.{}_", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
