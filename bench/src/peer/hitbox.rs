//! hitbox: a function whose results are kept, here in its store in memory, which keeps them encoded.

// The macro makes more than is called.
#![allow(dead_code)]

use hitbox::CacheStatus;
use hitbox::policy::PolicyConfig;
use hitbox_fn::cached;
use hitbox_moka::MokaBackend;

use crate::cache::{KEYS, LONG, ROOM, User, user};

/// A cache with every user in it.
pub async fn cache() -> hitbox_fn::Cache<MokaBackend> {
    let cache = hitbox_fn::Cache::builder()
        .backend(MokaBackend::builder().max_entries(ROOM).build())
        .policy(PolicyConfig::builder().ttl(LONG).build())
        .build();
    for id in 0..KEYS {
        find_user(id).cache(&cache).await;
        let (found, context) = find_user(id).cache(&cache).with_context().await;
        assert_eq!((found.id, context.status), (id, CacheStatus::Hit));
    }
    cache
}

#[cached]
pub async fn find_user(id: u64) -> User {
    user(id)
}
