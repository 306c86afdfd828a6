//! The plain keys of flags, as people write them by hand: found, read, and kept up to date.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::try_join_all;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::backend::{Backend as _, Plain};
use super::known::{Shared, time_of};
use super::overlays::Overlays;
use super::scans::Scans;
use super::watch::{AGAIN_AFTER, TELLS_WITHIN, Trouble};
use crate::kernel::clock::UnixMillis;
use crate::kernel::error::{Error, Result};
use crate::kernel::telemetry;

/// So many are kept.
pub(super) const OVERLAYS_MAX: usize = 100_000;
/// Several servers begin to tell of changes at about the same time: one look is enough.
const SETTLED_AFTER: Duration = Duration::from_millis(50);
/// One that ends is looked at again, and not sooner than that.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// Wall time may be set while one waits for something to end.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// So many are read at a time.
const BATCH: usize = 200;

/// A plain key that stands above a flag, such as `feature:new-ui:global`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overlay {
    /// The flag.
    pub key: String,
    /// Of whom it is; `None`: of everyone.
    pub user: Option<String>,
    /// On or off.
    pub value: bool,
    /// When it ends by itself, if it does.
    pub expires_at: Option<SystemTime>,
}

/// All that hold now, by flag and user.
pub(super) fn overlays(flags: &Shared) -> Vec<Overlay> {
    let (known, now) = (flags.known(), flags.engine.clock.wall());
    let holding = known.rules.overlays.iter();
    let holding = holding.filter(|(.., expires_at)| expires_at.is_none_or(|at| now < at));
    let mut overlays: Vec<Overlay> = holding
        .map(|(key, user, value, expires_at)| Overlay {
            key: key.to_owned(),
            user: user.map(str::to_owned),
            value,
            expires_at: expires_at.map(time_of),
        })
        .collect();
    overlays.sort_unstable_by(|a, b| (&a.key, &a.user).cmp(&(&b.key, &b.user)));
    overlays
}

/// Whether everyone's plain key of a flag is there, as the store has it now.
pub(super) async fn is_there(flags: &Shared, flag: &str) -> Result<bool> {
    let plain = flags.engine.backend.plain(&flags.plain.key(flag, None)).await?;
    Ok(plain.is_some_and(|plain| value_of(&plain.value).is_some()))
}

/// Keeps them up to date until it is aborted. `looked` is dropped after the first look.
pub(super) async fn keep(flags: Arc<Shared>, looked: mpsc::Sender<()>) {
    let mut watching = flags.engine.backend.watch(flags.plain.prefix());
    let _ = timeout(TELLS_WITHIN, watching.changed()).await;
    let (mut looked, mut trouble) = (Some(looked), Trouble::default());
    let mut changed = None;
    loop {
        let look = match &changed {
            Some(keys) => look_at(&flags, keys).await,
            None => look_at_all(&flags).await,
        };
        drop(looked.take());
        trouble.tell("the plain keys of flags", look.as_ref().err());
        if look.is_err() {
            sleep(AGAIN_AFTER).await;
            // What has ended meanwhile has.
            flags.turn();
            changed = None;
            continue;
        }
        changed = tokio::select! {
            changed = watching.changed() => changed,
            ended = until_one_ends(&flags) => {
                // However long the store takes to say so too.
                flags.turn();
                Some(ended)
            }
        };
        if changed.is_none() {
            sleep(SETTLED_AFTER).await;
        }
    }
}

/// Comes back with those that have ended by this process's clock. Cancel-safe.
async fn until_one_ends(flags: &Shared) -> HashSet<Box<[u8]>> {
    let next = flags.known().rules.overlays.next_expiry();
    sleep(PAUSE_MIN).await;
    match next {
        Some(at) => {
            let _ = timeout(PAUSE_MAX, flags.sleep_until(at)).await;
        }
        None => std::future::pending().await,
    }
    let (known, now) = (flags.known(), flags.engine.clock.wall());
    let ended = known.rules.overlays.iter();
    let ended = ended.filter(|(.., expires_at)| expires_at.is_some_and(|at| at <= now));
    ended.map(|(flag, user, ..)| flags.plain.key(flag, user).into_bytes().into()).collect()
}

async fn look_at(flags: &Shared, keys: &HashSet<Box<[u8]>>) -> Result<()> {
    let texts = keys.iter().filter_map(|key| str::from_utf8(key).ok());
    let mut keys: Vec<String> = texts.map(str::to_owned).collect();
    let mut read = Vec::new();
    while !keys.is_empty() {
        let batch = keys.split_off(keys.len().saturating_sub(BATCH));
        let batch = batch.into_iter().map(|key| async move {
            let plain = flags.engine.backend.plain(&key).await?;
            Ok::<_, Error>((key, plain))
        });
        read.extend(try_join_all(batch).await?);
    }
    let now = flags.engine.clock.wall();
    flags.overlay(|overlays| {
        for (key, plain) in &read {
            set(flags, overlays, key, plain.as_ref(), now);
        }
    });
    Ok(())
}

async fn look_at_all(flags: &Shared) -> Result<()> {
    let found = Scans::next(&flags.engine, &flags.plain).await?;
    let now = flags.engine.clock.wall();
    let overlays = read_all(flags, &found.by_key, now);
    flags.overlay(|known| *known = overlays);
    Ok(())
}

fn read_all(flags: &Shared, found: &BTreeMap<String, Plain>, now: UnixMillis) -> Overlays {
    let mut overlays = Overlays::default();
    for (key, plain) in found {
        set(flags, &mut overlays, key, Some(plain), now);
    }
    overlays
}

/// Takes over what a key holds. What is none of ours is as good as nothing.
fn set(flags: &Shared, overlays: &mut Overlays, key: &str, plain: Option<&Plain>, now: UnixMillis) {
    let Some((flag, user)) = flags.plain.parts(key) else {
        return ignored("name");
    };
    let value = plain.and_then(|plain| value_of(&plain.value));
    if plain.is_some() && value.is_none() {
        ignored("value");
    }
    let expires_at = plain.and_then(|plain| plain.left).map(|left| {
        let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        UnixMillis(now.0.saturating_add(left_ms))
    });
    overlays.set(flag, user, value.map(|value| (value, expires_at)));
    if overlays.len() > OVERLAYS_MAX {
        overlays.set(flag, user, None);
        ignored("full");
    }
}

fn ignored(reason: &'static str) {
    metrics::counter!(telemetry::FLAG_OVERLAYS_IGNORED, "reason" => reason).increment(1);
}

/// In any case: .NET writes `True`.
fn value_of(text: &[u8]) -> Option<bool> {
    if text.eq_ignore_ascii_case(b"true") {
        return Some(true);
    }
    text.eq_ignore_ascii_case(b"false").then_some(false)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use bytes::Bytes;
    use metrics::{
        Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    };

    use super::*;
    use crate::flag::{Engine, MemoryBackend, Store};
    use crate::kernel::clock::Clock;
    use crate::kernel::key::Scope;
    use crate::kernel::name::{EnvName, Prefix, Tenancy};

    /// Counts what is ignored, whatever the reason.
    #[derive(Default)]
    struct Ignored(Arc<AtomicU64>);

    impl Recorder for Ignored {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            match key.name() {
                telemetry::FLAG_OVERLAYS_IGNORED => Counter::from_arc(Arc::clone(&self.0)),
                _ => Counter::noop(),
            }
        }

        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    fn flags() -> Shared {
        let clock = Clock::manual().0;
        let store = Store::Memory(MemoryBackend::new(clock.clone()));
        let scope = Scope::unscoped(&Prefix::default(), Tenancy::Single);
        let keys = scope.flags(&EnvName::new("prod").unwrap());
        Shared::new(Engine::new(store, clock), keys, scope.plain_flags(), None)
    }

    #[test]
    fn what_does_not_count_is_counted() {
        let (flags, ignored, mut overlays) = (flags(), Ignored::default(), Overlays::default());
        let now = UnixMillis(0);
        let plain =
            |text: &'static str| Plain { value: Bytes::from_static(text.as_bytes()), left: None };
        let mut take = |key: &str, text: Option<&'static str>| {
            let plain = text.map(plain);
            let set = || set(&flags, &mut overlays, key, plain.as_ref(), now);
            metrics::with_local_recorder(&ignored, set);
            (overlays.len(), ignored.0.load(Ordering::Relaxed))
        };
        assert_eq!(take("feature:ui:global", Some("True")), (1, 0));
        assert_eq!(take("feature:ui:user:u1", Some("yes")), (1, 1));
        assert_eq!(take("feature:ui", Some("true")), (1, 2));
        assert_eq!(take("feature:ui:global", Some("")), (0, 3), "nor does what it was");
        assert_eq!(take("feature:ui:global", None), (0, 3));
        for user in 0..OVERLAYS_MAX {
            take(&format!("feature:ui:user:{user}"), Some("true"));
        }
        assert_eq!(
            take("feature:ui:user:0", Some("false")),
            (OVERLAYS_MAX, 3),
            "there is room for it"
        );
        assert_eq!(take("feature:ui:global", Some("true")), (OVERLAYS_MAX, 4), "there is none");
        assert_eq!(take("feature:ui:user:7", None), (OVERLAYS_MAX - 1, 4));
        assert_eq!(take("feature:ui:global", Some("true")), (OVERLAYS_MAX, 4));
    }

    #[test]
    fn a_value_is_true_or_false_in_any_case_and_nothing_else() {
        for (text, value) in [("true", Some(true)), ("True", Some(true)), ("FALSE", Some(false))] {
            assert_eq!(value_of(text.as_bytes()), value, "{text}");
        }
        for other in ["", "1", "0", "on", "true ", "true\n", "\"true\"", "truetrue"] {
            assert_eq!(value_of(other.as_bytes()), None, "{other}");
        }
    }
}
