//! Loads under way in this process, and who may share their outcome.
//!
//! A caller may join a flight only if what the flight will answer cannot be older than the
//! caller: either its last question to the store was sent after the caller began, or the
//! store itself has just said that the flight's lease still holds. Otherwise a caller that
//! begins after an invalidation could be handed what was loaded before it.

use std::any::{Any, TypeId};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use dashmap::mapref::entry::Entry;
use dashmap::{DashMap, DashSet};
use tokio::sync::Notify;

use super::backend::Token;
use super::tags::Tide;
use crate::kernel::coherence::{Coherence, Note};
use crate::kernel::error::Error;
use crate::kernel::key::Key;
use crate::kernel::pattern::Selection;

/// Orders the events of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(u64);

/// The value or error of a load, of types that only its callers know.
#[derive(Clone)]
pub(crate) enum Outcome {
    /// A value, or that the source has none, and whether it came from the store after all.
    Value {
        value: Option<Arc<dyn Any + Send + Sync>>,
        from_store: bool,
    },
    Failed(Arc<dyn Any + Send + Sync>),
    /// What the loader asked for is not acceptable.
    Rejected(Error),
    /// The load panicked or was stopped.
    Aborted,
}

/// Whether the store answered the caller that looks for a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    StoreAnswers,
    StoreIsGone,
}

/// One load of one key.
pub(crate) struct Flight {
    key: Key,
    types: TypeId,
    /// When the last question was sent to the store that the outcome depends on;
    /// `NOTHING_SENT` while the next one is still to come.
    asked: AtomicU64,
    /// Set once it goes on without the store: what was noted of the key before it began, where
    /// changes are told.
    without_store: OnceLock<Option<Terms>>,
    /// What its loader's value is dated with, in a cache with tags.
    tide: OnceLock<Tide>,
    open: AtomicBool,
    outcome: OnceLock<Outcome>,
    has_landed: Notify,
}

const NOTHING_SENT: u64 = u64::MAX;

/// What was noted of a key, and of its cache's tags.
pub(crate) struct Terms {
    pub(crate) coherence: Arc<Coherence>,
    pub(crate) notes: Vec<Note>,
}

impl Terms {
    fn hold(&self) -> bool {
        self.notes.iter().all(|note| self.coherence.holds(note))
    }
}

/// What a caller that missed is to do.
pub(crate) enum Boarding {
    /// Wait for this flight.
    Joined(Arc<Flight>),
    /// Fly it.
    Lead(Departure),
}

/// All flights of one process.
#[derive(Default)]
pub(crate) struct Flights {
    ticks: AtomicU64,
    by_key: DashMap<Key, Arc<Flight>>,
    by_lease: DashMap<Token, Arc<Flight>>,
    /// How many go without the store.
    without_store: AtomicU64,
    refreshing: DashSet<Key>,
}

/// Given back when dropped.
pub(crate) struct Turn {
    flights: Arc<Flights>,
    key: Key,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.flights.refreshing.remove(&self.key);
    }
}

impl Flights {
    /// The time of a caller's beginning. Taken before its first question to the store is sent.
    pub(crate) fn now(&self) -> Tick {
        // Only read: a hit must not make threads fight over a counter.
        Tick(self.ticks.load(Ordering::SeqCst))
    }

    /// The time of a question: later than that of every caller that began before it.
    fn later(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Joins the flight for `key` if its outcome will do, else begins one that replaces it.
    pub(crate) fn board(
        self: &Arc<Self>,
        key: &Key,
        types: TypeId,
        began: Tick,
        reach: Reach,
    ) -> Boarding {
        let led = match self.by_key.entry(key.clone()) {
            Entry::Occupied(mut slot) => {
                if slot.get().may_be_joined(types, began, reach) {
                    return Boarding::Joined(Arc::clone(slot.get()));
                }
                let led = Flight::new(key, types);
                // An invalidation will not find the one that is replaced any more.
                slot.insert(Arc::clone(&led)).open.store(false, Ordering::SeqCst);
                led
            }
            Entry::Vacant(slot) => Arc::clone(&slot.insert(Flight::new(key, types))),
        };
        Boarding::Lead(Departure { flights: Arc::clone(self), flight: led, lease: None })
    }

    /// A flight that no one finds by its key.
    pub(crate) fn alone(self: &Arc<Self>, key: &Key, types: TypeId) -> Departure {
        let flight = Flight::new(key, types);
        Departure { flights: Arc::clone(self), flight, lease: None }
    }

    /// The right to refresh an entry in the background, for one at a time.
    pub(crate) fn refresh(self: &Arc<Self>, key: &Key) -> Option<Turn> {
        match self.refreshing.insert(key.clone()) {
            true => Some(Turn { flights: Arc::clone(self), key: key.clone() }),
            false => None,
        }
    }

    /// The flight of this process that holds a lease and loads the same types. Invalidating a tag
    /// revokes no lease: in a cache with tags, none may have been invalidated since it began.
    pub(crate) fn holding(
        &self,
        lease: Token,
        types: TypeId,
        tide: Option<Tide>,
    ) -> Option<Arc<Flight>> {
        let flight = self.by_lease.get(&lease)?;
        let same_tide = flight.tide.get().copied() == tide || planted!(FlightsJoinedPastTags);
        let is_current = flight.types == types && same_tide;
        is_current.then(|| Arc::clone(&flight))
    }

    /// No later caller joins the flight for `key`.
    pub(crate) fn close(&self, key: &Key) {
        if let Some(flight) = self.by_key.get(key) {
            flight.open.store(false, Ordering::SeqCst);
        }
    }

    /// The store has answered for `key`: what is loaded without it is no one's any more who comes later.
    pub(crate) fn answered(&self, key: &Key) {
        if self.without_store.load(Ordering::SeqCst) > 0
            && let Some(flight) = self.by_key.get(key)
            && flight.without_store.get().is_some()
        {
            flight.open.store(false, Ordering::SeqCst);
        }
    }

    pub(crate) fn close_all(&self, of: &Selection) {
        for flight in &self.by_key {
            if of.contains(&flight.key) {
                flight.open.store(false, Ordering::SeqCst);
            }
        }
    }
}

impl Flight {
    fn new(key: &Key, types: TypeId) -> Arc<Self> {
        Arc::new(Self {
            key: key.clone(),
            types,
            asked: AtomicU64::new(NOTHING_SENT),
            without_store: OnceLock::new(),
            tide: OnceLock::new(),
            open: AtomicBool::new(true),
            outcome: OnceLock::new(),
            has_landed: Notify::new(),
        })
    }

    fn may_be_joined(&self, types: TypeId, began: Tick, reach: Reach) -> bool {
        let asked_later = self.asked.load(Ordering::SeqCst) > began.0;
        // While the store is gone no one can say more, and one load must do for all.
        // One that was told of a change since does not.
        let is_without = |terms: &Option<Terms>| terms.as_ref().is_none_or(Terms::hold);
        let both_without =
            reach == Reach::StoreIsGone && self.without_store.get().is_some_and(is_without);
        let asked_later = asked_later || planted!(FlightsJoinedByAnyone);
        self.types == types && self.open.load(Ordering::SeqCst) && (asked_later || both_without)
    }

    /// Waits for the outcome. Dropping this future does not stop the flight.
    pub(crate) async fn outcome(&self) -> Outcome {
        loop {
            let mut landing = std::pin::pin!(self.has_landed.notified());
            // Registered before the look: what comes between wakes us.
            landing.as_mut().enable();
            if let Some(outcome) = self.outcome.get() {
                return outcome.clone();
            }
            landing.await;
        }
    }
}

/// The flight in the hands of the task that flies it. Dropped without landing, it tells
/// everyone who waits.
pub(crate) struct Departure {
    flights: Arc<Flights>,
    flight: Arc<Flight>,
    lease: Option<Token>,
}

impl Departure {
    pub(crate) fn flight(&self) -> Arc<Flight> {
        Arc::clone(&self.flight)
    }

    pub(crate) fn types(&self) -> TypeId {
        self.flight.types
    }

    /// From here on the outcome depends on a question that is about to be sent.
    pub(crate) fn asks(&self) {
        self.flight.asked.store(self.flights.later(), Ordering::SeqCst);
    }

    /// The last answer settles nothing: the next question decides, and anyone may join until then.
    pub(crate) fn asks_again_later(&self) {
        self.flight.asked.store(NOTHING_SENT, Ordering::SeqCst);
    }

    /// Whether no invalidation has closed it, nor any change elsewhere been told of since it went on
    /// without the store, nor the store come back to tell of any.
    pub(crate) fn is_untouched(&self) -> bool {
        let terms = self.flight.without_store.get().and_then(Option::as_ref);
        self.flight.open.load(Ordering::SeqCst) && terms.is_none_or(Terms::hold)
    }

    pub(crate) fn is_dated(&self, tide: Tide) {
        // Set once, before anything is asked.
        let _ = self.flight.tide.set(tide);
    }

    pub(crate) fn goes_without_store(&self, terms: Option<Terms>) {
        // Before it shows: an answer from here on closes it.
        self.flights.without_store.fetch_add(1, Ordering::SeqCst);
        if self.flight.without_store.set(terms).is_err() {
            // Once: it never finds the store again.
            self.flights.without_store.fetch_sub(1, Ordering::SeqCst);
        }
    }

    pub(crate) fn holds(&mut self, lease: Token) {
        self.flights.by_lease.insert(lease, Arc::clone(&self.flight));
        self.lease = Some(lease);
    }

    pub(crate) fn lands(self, outcome: Outcome) {
        self.end(outcome);
    }

    fn end(&self, outcome: Outcome) {
        let is_this = |_: &Key, flight: &Arc<Flight>| Arc::ptr_eq(flight, &self.flight);
        self.flights.by_key.remove_if(&self.flight.key, is_this);
        if let Some(lease) = self.lease {
            self.flights.by_lease.remove(&lease);
        }
        // The first one counts: a flight that has landed is dropped after that.
        if self.flight.outcome.set(outcome).is_ok() {
            if self.flight.without_store.get().is_some() {
                self.flights.without_store.fetch_sub(1, Ordering::SeqCst);
            }
            self.flight.has_landed.notify_waiters();
        }
    }
}

impl Drop for Departure {
    fn drop(&mut self) {
        self.end(Outcome::Aborted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::coherence::Lane;
    use crate::kernel::key::Scope;
    use crate::kernel::name::{Prefix, Space, Tenancy};

    fn key(id: u64) -> Key {
        let scope = Scope::unscoped(&Prefix::default(), Tenancy::Single);
        scope.key(&Space::new("user").unwrap(), &id).unwrap()
    }

    /// A flight that goes without the store, and what tells of changes.
    fn without_store(flights: &Arc<Flights>) -> (Departure, Arc<Coherence>) {
        let coherence = Arc::new(Coherence::new(64));
        let lane = Arc::new(Lane::unconnected());
        let note = coherence.note_anyway(key(1).as_str().as_bytes(), &lane);
        let types = TypeId::of::<u64>();
        let boarding = flights.board(&key(1), types, flights.now(), Reach::StoreIsGone);
        let Boarding::Lead(departure) = boarding else { panic!("the first one") };
        let terms = Terms { coherence: Arc::clone(&coherence), notes: vec![note] };
        departure.goes_without_store(Some(terms));
        assert!(departure.is_untouched());
        (departure, coherence)
    }

    #[test]
    fn a_load_without_the_store_is_touched_by_a_change_and_by_an_answer_of_the_store() {
        let flights = Arc::new(Flights::default());
        let (departure, coherence) = without_store(&flights);
        coherence.touch(key(1).as_str().as_bytes());
        assert!(!departure.is_untouched(), "told of a change");
        departure.lands(Outcome::Aborted);
        let (departure, _coherence) = without_store(&flights);
        flights.answered(&key(2));
        assert!(departure.is_untouched(), "of another key");
        flights.answered(&key(1));
        assert!(!departure.is_untouched(), "the store has answered");
        departure.lands(Outcome::Aborted);
        assert_eq!(flights.without_store.load(Ordering::SeqCst), 0);
    }
}
