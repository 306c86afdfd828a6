//! What keeps values in one process and asks nobody, each with every user in it.

use std::sync::Arc;

use cached::ShardedTtlCache;

use crate::cache::{LONG, ROOM, User, users};

/// Looks a user up. Cheap to clone.
pub trait Get: Fn(u64) -> Option<Arc<User>> + Clone + Send + 'static {}

impl<F: Fn(u64) -> Option<Arc<User>> + Clone + Send + 'static> Get for F {}

/// The least that the job needs: bounded, and nothing else.
pub fn quick_cache() -> impl Get {
    let cache = Arc::new(quick_cache::sync::Cache::<u64, Arc<User>>::new(ROOM as usize));
    for user in users() {
        cache.insert(user.id, user);
    }
    move |id: u64| cache.get(&id)
}

pub fn moka() -> impl Get {
    let cache: moka::sync::Cache<u64, Arc<User>> =
        moka::sync::Cache::builder().max_capacity(ROOM).time_to_live(LONG).build();
    for user in users() {
        cache.insert(user.id, user);
    }
    move |id: u64| cache.get(&id)
}

/// The same for callers that are tasks.
pub async fn moka_for_tasks() -> moka::future::Cache<u64, Arc<User>> {
    let cache = moka::future::Cache::builder().max_capacity(ROOM).time_to_live(LONG).build();
    for user in users() {
        cache.insert(user.id, user).await;
    }
    cache
}

/// Unbounded: the one of its sharded caches with a TTL whose hits share a lock.
pub fn cached() -> impl Get {
    let cache: ShardedTtlCache<u64, Arc<User>> = ShardedTtlCache::new(LONG);
    for user in users() {
        cache.set(user.id, user);
    }
    move |id: u64| cache.get(&id)
}
