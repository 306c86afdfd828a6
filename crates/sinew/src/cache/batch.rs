//! Many entries at once: one question to the store, and one to the source.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::{self, StreamExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Cache;
use super::backend::{Backend as _, Invalidated, Token};
use super::engine::Shared;
use super::flight::{Boarding, Flight, Outcome, Reach};
use super::lease::{Asked, RENEWED_FOR, Route};
use super::load::{Brought, Cargo, Kind, Miss, Pilot, Renewal, any, landed, wait_for};
use super::loader::{LoadError, Loaded, Loading, Source};
use super::model::{LEASE, REFRESH_AGAIN_AFTER};
use crate::kernel::errand::to_the_end;
use crate::kernel::error::Result;
use crate::kernel::key::{CacheKey, Key};

/// Invalidations that travel together.
const AT_ONCE: usize = 200;

impl<K: CacheKey, V> Cache<K, V>
where
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    /// [`Cache::invalidate`] of many entries, which travel together. `Queued` if any of them is.
    ///
    /// # Errors
    /// `Rejected` for a key that cannot exist, and then none is sent; otherwise as
    /// [`Cache::invalidate`], and then the others have been sent all the same.
    ///
    /// # Cancellation
    /// As [`Cache::invalidate`].
    pub async fn invalidate_many(&self, keys: &[K]) -> Result<Invalidated> {
        let keys: Vec<Key> = keys.iter().map(|key| self.key(key)).collect::<Result<_>>()?;
        let engine = Arc::clone(&self.shared.engine);
        to_the_end(async move {
            let mut outcome = Ok(Invalidated::Done);
            for keys in keys.chunks(AT_ONCE) {
                for sent in join_all(keys.iter().map(|key| engine.invalidate(key))).await {
                    outcome = match (outcome, sent) {
                        (Err(error), _) | (_, Err(error)) => Err(error),
                        (Ok(Invalidated::Done), Ok(Invalidated::Done)) => Ok(Invalidated::Done),
                        _ => Ok(Invalidated::Queued),
                    };
                }
            }
            outcome
        })
        .await
    }
}

impl<K, V> Cache<K, V>
where
    K: CacheKey + Clone + Eq + Hash + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    /// Looks many entries up, with one question to each node, and loads those that are missing, with
    /// one call of the loader; what another process is loading already is waited for. What the loader
    /// does not bring is not in the reply, and is remembered for
    /// [`CacheBuilder::absent_ttl`](crate::CacheBuilder::absent_ttl), where one is set.
    ///
    /// The loader is called again for those keys only whose load elsewhere came to nothing; and in the
    /// background, once for all that are due for a refresh. What it brings has no tags, but for what
    /// replaces an entry in the background, which keeps those that it had.
    ///
    /// ```
    /// # use std::collections::HashMap;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let sinew = sinew::Sinew::embedded();
    /// let squares: sinew::Cache<u64, u64> = sinew.cache("square").build()?;
    /// let load = |missing: Vec<u64>| async move {
    ///     Ok::<_, std::io::Error>(missing.into_iter().map(|n| (n, n * n)).collect::<HashMap<_, _>>())
    /// };
    /// let found = squares.get_or_load_many(&[2, 3], load).await?;
    /// assert_eq!(*found[&3], 9);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Cache::get_or_load`]; what was found is then lost to the caller, and kept in the cache.
    ///
    /// # Cancellation
    /// As [`Cache::get_or_load`].
    ///
    /// # When Redis is down
    /// As [`Cache::get_or_load`].
    pub async fn get_or_load_many<F, Fut, M, E>(
        &self,
        keys: &[K],
        load: F,
    ) -> Result<HashMap<K, Arc<V>>, LoadError<E>>
    where
        F: Fn(Vec<K>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<M, E>> + Send + 'static,
        M: IntoIterator<Item = (K, V)> + Send + 'static,
        M::IntoIter: Send,
        E: Send + Sync + 'static,
    {
        let load = Arc::new(load);
        let (mut found, mut wanted) = (HashMap::with_capacity(keys.len()), Vec::new());
        let mut due = Vec::new();
        for key in keys {
            match self.kept_here(key) {
                Some(kept) => {
                    self.served_here(key, &kept);
                    if let Some(miss) = kept.due()
                        && let Ok(text) = self.key(key)
                    {
                        due.push(Wanted { text, key: key.clone(), miss });
                    }
                    found.extend(kept.into_value().map(|value| (key.clone(), value)));
                }
                None => wanted.push(Wanted {
                    text: self.key(key).map_err(LoadError::Rejected)?,
                    key: key.clone(),
                    miss: Miss::nothing(),
                }),
            }
        }
        wanted.sort_by(|a, b| a.text.as_str().cmp(b.text.as_str()));
        wanted.dedup_by(|a, b| a.text == b.text);
        let flying = self.fly_many(wanted, &mut found, &mut due, Arc::clone(&load));
        let flights = Box::pin(flying).await;
        let shared = &self.shared;
        if !due.is_empty() {
            tokio::spawn(refresh_together(Arc::clone(shared), due, load));
        }
        let waiting = flights.into_iter().map(|(key, flight, stale)| async move {
            let outcome = wait_for(shared, flight.outcome(), stale.is_some()).await;
            let outcome = outcome.map_or(Err(LoadError::TimedOut), |o| landed(shared, o));
            let source = outcome.as_ref().map_or(Source::Loaded, |landed| landed.source);
            match (outcome, stale) {
                (Ok(landed), _) => (key, Ok(landed.value), source),
                (Err(_), Some(stale)) => (key, Ok(Some(stale)), Source::Stale),
                (Err(error), None) => (key, Err(error), source),
            }
        });
        let mut failure = None;
        for (key, outcome, source) in join_all(waiting).await {
            self.shared.recorder.looked_up(source);
            match outcome {
                Ok(value) => found.extend(value.map(|value| (key, value))),
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) => Err(error),
            None => Ok(found),
        }
    }

    /// Adds what the store has to `found`, and to `due` what of it is to be loaded anew; begins or joins the loads of the rest.
    async fn fly_many<F, Fut, M, E>(
        &self,
        mut wanted: Vec<Wanted<K, V>>,
        found: &mut HashMap<K, Arc<V>>,
        due: &mut Vec<Wanted<K, V>>,
        load: Arc<F>,
    ) -> Vec<(K, Arc<Flight>, Option<Arc<V>>)>
    where
        F: Fn(Vec<K>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<M, E>> + Send + 'static,
        M: IntoIterator<Item = (K, V)> + Send + 'static,
        M::IntoIter: Send,
        E: Send + Sync + 'static,
    {
        let (shared, engine) = (&self.shared, &self.shared.engine);
        let began = engine.flights.now();
        let texts: Vec<Key> = wanted.iter().map(|wanted| wanted.text.clone()).collect();
        let coherence = shared.level.as_ref().and_then(|_| engine.coherence());
        let alone: Vec<_> = texts.iter().map(|text| shared.alone(text)).collect();
        let reads = engine.backend.read_many(&texts, coherence.map(|c| &**c)).await;
        let mut missing = Vec::new();
        for ((mut wanted, read), alone) in wanted.drain(..).zip(reads).zip(alone) {
            shared.recorder.looks_up(&wanted.text);
            match shared.found(&wanted.text, read, alone).await {
                Ok(hit) => {
                    self.served(&wanted.key, hit.value.as_ref(), hit.nonce, hit.source);
                    found.extend(hit.value.map(|value| (wanted.key.clone(), value)));
                    due.extend(hit.refresh.map(|miss| Wanted { miss, ..wanted }));
                }
                Err(miss) => {
                    wanted.miss = miss;
                    missing.push(wanted);
                }
            }
        }
        let (mut flights, mut led) = (Vec::with_capacity(missing.len()), Vec::new());
        let types = Kind::Find.types::<V, E>();
        for mut wanted in missing {
            let reach = match wanted.miss.store_is_gone {
                true => Reach::StoreIsGone,
                false => Reach::StoreAnswers,
            };
            let stale = wanted.miss.stale.take();
            let flight = match engine.flights.board(&wanted.text, types, began, reach) {
                Boarding::Joined(flight) => flight,
                Boarding::Lead(departure) => {
                    let flight = departure.flight();
                    let text = wanted.text.clone();
                    let pilot = Pilot::new(Arc::clone(shared), text, Kind::Find, departure);
                    led.push((pilot, wanted.key.clone(), wanted.miss));
                    flight
                }
            };
            flights.push((wanted.key, flight, stale));
        }
        if !led.is_empty() {
            // Its own task: a caller that goes away must not end the loads that others wait for.
            tokio::spawn(lead(led, load));
        }
        flights
    }
}

/// The loader of one key, from that of many.
fn of_one<K, V, F, Fut, M, E>(
    load: Arc<F>,
    key: K,
) -> impl FnOnce(Loading<V>) -> BoxFuture<'static, Brought<V, E>> + Send + 'static
where
    K: Clone + Eq + Send + Sync + 'static,
    V: Send + 'static,
    F: Fn(Vec<K>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<M, E>> + Send + 'static,
    M: IntoIterator<Item = (K, V)> + Send + 'static,
    E: 'static,
{
    move |_| {
        let loading = load(vec![key.clone()]);
        Box::pin(async move {
            let mut brought = loading.await?.into_iter();
            let value = brought.find_map(|(found, value)| (found == key).then_some(value));
            Ok(value.map(Loaded::Value))
        })
    }
}

/// A key to load, and what is known of its entry.
struct Wanted<K, V> {
    key: K,
    text: Key,
    miss: Miss<V>,
}

/// One that loads for itself, and under which lease.
struct Granted<K, V> {
    pilot: Pilot<V>,
    key: K,
    lease: Option<Token>,
    /// What it is to have of the entry that it replaces.
    tags: Vec<Box<str>>,
}

/// Asks for all leases at once; loads what was granted together, and waits for the rest.
async fn lead<K, V, F, Fut, M, E>(led: Vec<(Pilot<V>, K, Miss<V>)>, load: Arc<F>)
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
    F: Fn(Vec<K>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<M, E>> + Send + 'static,
    M: IntoIterator<Item = (K, V)> + Send + 'static,
    M::IntoIter: Send,
    E: Send + Sync + 'static,
{
    let asking = led.into_iter().map(|(mut pilot, key, mut miss)| async move {
        let terms = pilot.cache.terms_of(&pilot.key);
        let asked = match miss.store_is_gone {
            true => Asked::Settled(Route::WithoutStore),
            false => pilot.ask_at_once(&mut miss.unusable).await,
        };
        (pilot, key, miss, asked, terms)
    });
    let mut granted = Vec::new();
    for (pilot, key, miss, asked, terms) in
        stream::iter(asking).buffered(AT_ONCE).collect::<Vec<_>>().await
    {
        match asked {
            Asked::Settled(Route::Load(token)) => {
                granted.push(Granted { pilot, key, lease: Some(token), tags: Vec::new() });
            }
            Asked::Settled(Route::WithoutStore | Route::Impatient) => {
                pilot.departure.goes_without_store(terms);
                pilot.departure.asks();
                granted.push(Granted { pilot, key, lease: None, tags: Vec::new() });
            }
            Asked::Settled(Route::Land(outcome)) => pilot.departure.lands(outcome),
            Asked::Held { .. } | Asked::Again => {
                tokio::spawn(pilot.fly(miss, of_one(Arc::clone(&load), key)));
            }
        }
    }
    if !granted.is_empty() {
        load_together(granted, load).await;
    }
}

/// Loads newer values in the background, with one call of the loader for those that no one else in the
/// fleet loads.
async fn refresh_together<K, V, F, Fut, M, E>(
    cache: Arc<Shared<V>>,
    due: Vec<Wanted<K, V>>,
    load: Arc<F>,
) where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
    F: Fn(Vec<K>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<M, E>> + Send + 'static,
    M: IntoIterator<Item = (K, V)> + Send + 'static,
    M::IntoIter: Send,
    E: Send + Sync + 'static,
{
    let (engine, types) = (&cache.engine, Kind::Find.types::<V, E>());
    let asking = due.into_iter().filter_map(|Wanted { key, text, miss }| {
        let turn = engine.flights.refresh(&text)?;
        let departure = engine.flights.alone(&text, types);
        let mut pilot = Pilot::new(Arc::clone(&cache), text, Kind::Find, departure);
        Some(async move {
            let renewal = pilot.ask_to_replace(miss.unusable.as_deref()).await;
            (renewal, turn, pilot, key, miss.previous_tags)
        })
    });
    let (mut granted, mut turns, mut all_well) = (Vec::new(), Vec::new(), true);
    let mut asking = stream::iter(asking).buffered(AT_ONCE);
    while let Some((renewal, turn, pilot, key, tags)) = asking.next().await {
        turns.push(turn);
        match renewal {
            Renewal::Granted(token) => {
                granted.push(Granted { pilot, key, lease: Some(token), tags });
            }
            Renewal::IsNewer => {}
            Renewal::Refused => all_well = false,
        }
    }
    if !granted.is_empty() {
        all_well &= load_together(granted, load).await;
    }
    if !all_well {
        engine.clock.sleep_until(engine.clock.now().after(REFRESH_AGAIN_AFTER)).await;
    }
    drop(turns);
}

/// Whether the loader brought something.
async fn load_together<K, V, F, Fut, M, E>(granted: Vec<Granted<K, V>>, load: Arc<F>) -> bool
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
    F: Fn(Vec<K>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<M, E>> + Send + 'static,
    M: IntoIterator<Item = (K, V)> + Send + 'static,
    M::IntoIter: Send,
    E: Send + Sync + 'static,
{
    let cache: Arc<Shared<V>> = Arc::clone(&granted[0].pilot.cache);
    let clock = &cache.engine.clock;
    let (began, keys) = (clock.now(), granted.iter().map(|g| g.key.clone()).collect());
    // In a task of its own, so that its panic stays its own.
    let load = tokio::spawn(async move {
        let brought = load(keys).await?;
        Ok::<HashMap<K, V>, E>(brought.into_iter().collect())
    });
    let joined = renewing_all(&granted, load).await;
    let took = clock.now().since(began);
    cache.recorder.loaded(matches!(joined, Ok(Ok(_))), took);
    match joined {
        Ok(Ok(mut brought)) => {
            let landing = granted.into_iter().map(|granted| {
                let value = brought.remove(&granted.key).map(Arc::new);
                land(granted, value, took)
            });
            stream::iter(landing).for_each_concurrent(AT_ONCE, |landing| landing).await;
            true
        }
        Ok(Err(error)) => {
            give_up(granted, &Outcome::Failed(Arc::new(error))).await;
            false
        }
        Err(_) => {
            tracing::error!(cache = cache.name(), "a loader was aborted");
            give_up(granted, &Outcome::Aborted).await;
            false
        }
    }
}

async fn renewing_all<K, V, T>(
    granted: &[Granted<K, V>],
    mut load: tokio::task::JoinHandle<T>,
) -> Result<T, tokio::task::JoinError>
where
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    let clock = &granted[0].pilot.cache.engine.clock;
    let gives_up = clock.now().after(RENEWED_FOR);
    loop {
        let renewal = clock.now().after(LEASE / 2);
        tokio::select! {
            biased;
            joined = &mut load => return joined,
            () = clock.sleep_until(renewal), if clock.now() < gives_up => {
                // A lease that was revoked stays so: its fill will be refused.
                join_all(granted.iter().map(|g| g.pilot.renewed(g.lease))).await;
            }
        }
    }
}

async fn land<K, V>(granted: Granted<K, V>, value: Option<Arc<V>>, took: Duration)
where
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    let Granted { pilot, lease, tags, .. } = granted;
    let cargo = Cargo::with_tags(value, tags, took);
    match lease {
        Some(token) => pilot.fill(token, &cargo).await,
        None => pilot.keep_copy(&cargo),
    }
    let value = cargo.value.map(any);
    pilot.departure.lands(Outcome::Value { value, from_store: false });
}

async fn give_up<K, V>(granted: Vec<Granted<K, V>>, outcome: &Outcome)
where
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    let landing = granted.into_iter().map(|Granted { pilot, lease, .. }| async move {
        if let Some(token) = lease {
            pilot.give_back(token).await;
        }
        pilot.departure.lands(outcome.clone());
    });
    join_all(landing).await;
}
