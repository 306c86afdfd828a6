//! Changes of all keys that begin so, told by every primary on a connection of its own (`CLIENT TRACKING`
//! with `BCAST`): for few keys that seldom change, and that a process wants to know of all the same.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::{Notify, watch};

use super::connection::Connection;
use super::life;
use super::node::Shared;
use crate::kernel::breaker::Breaker;
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::status::Status;

/// Of more, a watcher is told that any key may have changed.
const KEYS_MAX: usize = 1_000;
/// So many prefixes that no one wants any more are told of, before the server is asked anew.
const UNUSED_MAX: usize = 64;
/// A connection that ended sooner is made again after a pause.
const STABLE_AFTER: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// A server that does not tell is asked again after a while: another may have taken its place.
const PAUSE_REFUSED: Duration = Duration::from_secs(30);

/// None of them begins with another: Redis takes no two that overlap.
type Prefixes = BTreeSet<String>;
/// Keys that were changed.
type Keys = HashSet<Box<[u8]>>;

/// Who of a link wants to know of what.
#[derive(Default)]
pub(super) struct Broadcasts {
    // Held for a few moves, also by the connections' drivers.
    watchers: Mutex<Watchers>,
    /// What the servers are to tell of.
    wanted: watch::Sender<Prefixes>,
}

#[derive(Default)]
struct Watchers {
    last_number: u64,
    by_number: HashMap<u64, Arc<Inbox>>,
}

/// What one watcher was told, and has not looked at yet.
struct Inbox {
    prefix: String,
    told: Mutex<Told>,
    bell: Notify,
}

#[derive(Default)]
struct Told {
    any: bool,
    keys: Keys,
}

/// One who is told, until dropped.
pub(crate) struct Watch {
    broadcasts: Arc<Broadcasts>,
    inbox: Arc<Inbox>,
    number: u64,
}

impl Watch {
    pub(super) fn start(broadcasts: &Arc<Broadcasts>, prefix: &str) -> Self {
        let prefix = prefix.to_owned();
        let inbox = Arc::new(Inbox { prefix, told: Mutex::default(), bell: Notify::new() });
        let mut watchers = broadcasts.watchers.lock();
        watchers.last_number += 1;
        let number = watchers.last_number;
        watchers.by_number.insert(number, Arc::clone(&inbox));
        broadcasts.want(&watchers);
        drop(watchers);
        Self { broadcasts: Arc::clone(broadcasts), inbox, number }
    }

    /// The keys that were changed since it was asked last. `None`: any of them may have been, since a
    /// server begins to tell only now, has forgotten everything, or there were too many. Cancel-safe.
    pub(crate) async fn changed(&mut self) -> Option<Keys> {
        loop {
            let Told { any, keys } = std::mem::take(&mut *self.inbox.told.lock());
            if any {
                return None;
            }
            if !keys.is_empty() {
                return Some(keys);
            }
            self.inbox.bell.notified().await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watchers = self.broadcasts.watchers.lock();
        watchers.by_number.remove(&self.number);
        self.broadcasts.want(&watchers);
    }
}

impl Broadcasts {
    fn want(&self, watchers: &Watchers) {
        let prefixes = reduced(watchers.by_number.values().map(|inbox| inbox.prefix.as_str()));
        self.wanted.send_if_modified(|wanted| {
            let is_new = *wanted != prefixes;
            *wanted = prefixes;
            is_new
        });
    }

    fn tell(&self, key: &[u8]) {
        for inbox in self.watchers.lock().by_number.values() {
            if key.starts_with(inbox.prefix.as_bytes()) {
                inbox.tell(key);
            }
        }
    }

    /// Any key of these watchers may have changed.
    fn tell_any(&self, whose: impl Fn(&str) -> bool) {
        for inbox in self.watchers.lock().by_number.values() {
            if whose(&inbox.prefix) {
                inbox.tell_any();
            }
        }
    }
}

impl Inbox {
    fn tell(&self, key: &[u8]) {
        let mut told = self.told.lock();
        if told.keys.len() >= KEYS_MAX {
            told.any = true;
        }
        // What comes after that says no more.
        if !told.any {
            told.keys.insert(key.into());
        }
        drop(told);
        self.bell.notify_one();
    }

    fn tell_any(&self) {
        *self.told.lock() = Told { any: true, keys: Keys::new() };
        self.bell.notify_one();
    }
}

/// Without those that begin with another.
fn reduced<'a>(prefixes: impl Iterator<Item = &'a str>) -> Prefixes {
    let mut reduced = Prefixes::new();
    let sorted: BTreeSet<&str> = prefixes.collect();
    for prefix in sorted {
        // In order, what begins with another comes right after it.
        if !reduced.last().is_some_and(|last| prefix.starts_with(last.as_str())) {
            reduced.insert(prefix.to_owned());
        }
    }
    reduced
}

/// Whether it begins with one of these, or is one: that can only be the last that is not greater.
fn is_covered(prefix: &str, by: &Prefixes) -> bool {
    let last = by.range::<str, _>((Bound::Unbounded, Bound::Included(prefix))).next_back();
    last.is_some_and(|last| prefix.starts_with(last.as_str()))
}

/// Whether one of these begins with it, or is it: that can only be the first that is not less.
fn covers(prefix: &str, any_of: &Prefixes) -> bool {
    let first = any_of.range::<str, _>((Bound::Included(prefix), Bound::Unbounded)).next();
    first.is_some_and(|first| first.starts_with(prefix))
}

/// What a server is to be asked, so that it tells of all that is wanted.
#[derive(Debug, PartialEq, Eq)]
enum Ask {
    Nothing,
    /// To tell of these as well.
    More(Prefixes),
    /// To forget all, and then to tell of what is wanted.
    Anew,
}

impl Ask {
    fn next(in_force: &Prefixes, wanted: &Prefixes) -> Self {
        let missing: Prefixes =
            wanted.iter().filter(|prefix| !is_covered(prefix, in_force)).cloned().collect();
        let unused = in_force.iter().filter(|prefix| !covers(prefix, wanted)).count();
        match missing.iter().any(|prefix| covers(prefix, in_force)) || unused > UNUSED_MAX {
            true => Self::Anew,
            false if missing.is_empty() => Self::Nothing,
            false => Self::More(missing),
        }
    }
}

/// Keeps the connection, while someone wants to know of anything.
pub(super) async fn keep(shared: Arc<Shared>) {
    let broadcasts = Arc::clone(&shared.common.broadcasts);
    let mut wanted = broadcasts.wanted.subscribe();
    until_wanted(&mut wanted).await;
    // Its own: trouble on this connection is not the callers'.
    let breaker = Breaker::new("broadcast");
    let mut was_refused = false;
    loop {
        until_wanted(&mut wanted).await;
        // Once callers are served. The sender lives as long as this task.
        let _ = shared.status.subscribe().wait_for(|status| matches!(status, Status::Up)).await;
        let began = tokio::time::Instant::now();
        let end = follow(&shared, &broadcasts, &breaker).await;
        let pause = match &end {
            Err(error) if error.is_final() => {
                if !was_refused {
                    tracing::warn!(redis = shared.name(), %error, "changes are looked for twice a minute: the server does not tell of them");
                }
                was_refused = true;
                broadcasts.tell_any(|_| true);
                PAUSE_REFUSED
            }
            _ => {
                was_refused = false;
                PAUSE_MAX.mul_f64(fastrand::f64())
            }
        };
        if began.elapsed() < STABLE_AFTER {
            tokio::time::sleep(pause).await;
        }
    }
}

async fn until_wanted(wanted: &mut watch::Receiver<Prefixes>) {
    // The sender is in the common part of all nodes.
    let _ = wanted.wait_for(|prefixes| !prefixes.is_empty()).await;
}

/// Comes back when changes may have gone untold, or no one wants to know of any.
async fn follow(shared: &Shared, broadcasts: &Arc<Broadcasts>, breaker: &Breaker) -> Result<()> {
    let located = shared.locator.locate().await?;
    let told = Arc::clone(broadcasts);
    let hears = Arc::new(move |push: &PushInfo| hear(push, &told));
    let mut opened = shared.open_hearing(&located, hears).await?;
    if !shared.is_served_by(&opened.server.process) {
        // The callers' connection leads elsewhere: what they read there is not what changes here.
        let kind = ErrorKind::Unavailable { maybe_applied: false };
        return Err(Error::new(kind, "another server than the callers'"));
    }
    let connection = opened.connection.clone();
    let (mut wanted, mut status) = (broadcasts.wanted.subscribe(), shared.status.subscribe());
    let mut watching = pin!(life::watch(&connection, breaker, Duration::MAX));
    let mut in_force = Prefixes::new();
    loop {
        let now = wanted.borrow_and_update().clone();
        if now.is_empty() {
            return Ok(());
        }
        match Ask::next(&in_force, &now) {
            Ask::Nothing => {}
            Ask::More(missing) => {
                tell_of(&connection, &missing).await?;
                broadcasts.tell_any(|prefix| is_covered(prefix, &missing));
                in_force.extend(missing);
            }
            Ask::Anew => {
                let mut off = redis::cmd("CLIENT");
                off.arg("TRACKING").arg("OFF");
                let _: Value = connection.call(&off).await?;
                tell_of(&connection, &now).await?;
                broadcasts.tell_any(|_| true);
                in_force = now;
            }
        }
        tokio::select! {
            _ = wanted.changed() => {}
            () = opened.driver.ended() => return Ok(()),
            _ = &mut watching => return Ok(()),
            () = shared.locator.moved_from(&located) => return Ok(()),
            // The callers' connection ended: the next one may lead elsewhere.
            () = until_not_up(&mut status) => return Ok(()),
        }
    }
}

async fn until_not_up(status: &mut watch::Receiver<Status>) {
    let _ = status.wait_for(|status| !matches!(status, Status::Up)).await;
}

async fn tell_of(connection: &Connection, prefixes: &Prefixes) -> Result<()> {
    let mut on = redis::cmd("CLIENT");
    on.arg("TRACKING").arg("ON").arg("BCAST");
    for prefix in prefixes {
        on.arg("PREFIX").arg(prefix);
    }
    let _: Value = connection.call(&on).await?;
    Ok(())
}

/// Called by the connection's driver: it neither waits nor panics.
fn hear(push: &PushInfo, broadcasts: &Broadcasts) {
    if push.kind != PushKind::Invalidate {
        return;
    }
    for keys in &push.data {
        match keys {
            Value::Array(keys) => {
                for key in keys {
                    match key {
                        Value::BulkString(key) => broadcasts.tell(key),
                        Value::SimpleString(key) => broadcasts.tell(key.as_bytes()),
                        _ => broadcasts.tell_any(|_| true),
                    }
                }
            }
            // The server forgot everything (FLUSHALL).
            _ => broadcasts.tell_any(|_| true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(prefixes: &str) -> Prefixes {
        prefixes.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn no_server_is_asked_for_a_prefix_that_another_covers() {
        for (all, kept) in
            [("b: a: b:", "a: b:"), ("a:x a: a:x:y a-", "a- a:"), ("ab abc b a", "a b"), ("", "")]
        {
            assert_eq!(reduced(all.split_whitespace()), set(kept), "{all}");
        }
    }

    #[test]
    fn a_server_is_asked_for_what_it_does_not_tell_of_yet() {
        for (in_force, wanted, ask) in [
            ("", "a: b:", Ask::More(set("a: b:"))),
            ("a:", "a: b:", Ask::More(set("b:"))),
            ("a: c:", "a:x b:", Ask::More(set("b:"))),
            ("a:", "a:x", Ask::Nothing),
            ("a: b:", "b:", Ask::Nothing),
            // It takes none that covers another.
            ("a:x b:", "a: b:", Ask::Anew),
        ] {
            assert_eq!(Ask::next(&set(in_force), &set(wanted)), ask, "{in_force} {wanted}");
        }
        let many: Prefixes = (0..=UNUSED_MAX).map(|number| format!("{number:03}:")).collect();
        assert_eq!(Ask::next(&many, &set("001:")), Ask::Nothing);
        assert_eq!(Ask::next(&many, &set("x:")), Ask::Anew, "too many that no one wants");
    }

    #[tokio::test]
    async fn a_watcher_is_told_of_its_own_keys_and_of_any_where_there_are_too_many() {
        let broadcasts = Arc::new(Broadcasts::default());
        let mut watch = Watch::start(&broadcasts, "a:");
        let other = Watch::start(&broadcasts, "b:");
        assert_eq!(*broadcasts.wanted.borrow(), set("a: b:"));
        broadcasts.tell(b"b:1");
        broadcasts.tell(b"a:1");
        broadcasts.tell(b"a:1");
        broadcasts.tell(b"a:2");
        let keys = [&b"a:1"[..], b"a:2"].map(Box::<[u8]>::from);
        assert_eq!(watch.changed().await, Some(keys.into()));
        for number in 0..=KEYS_MAX {
            broadcasts.tell(format!("a:{number}").as_bytes());
        }
        assert_eq!(watch.changed().await, None);
        broadcasts.tell(b"a:3");
        assert_eq!(watch.changed().await.map(|keys| keys.len()), Some(1));
        drop(other);
        assert_eq!(*broadcasts.wanted.borrow(), set("a:"));
    }
}
