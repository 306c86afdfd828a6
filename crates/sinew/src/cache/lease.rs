//! The lease: who loads, for how long, and what the others do meanwhile.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::backend::{Backend as _, Lease, Token};
use super::flight::{Flight, Outcome};
use super::load::{Kind, Miss, Pilot, any};
use super::model::{self, LEASE, WAIT_MAX};
use crate::kernel::clock::Monotonic;
use crate::kernel::coherence::Note;
use crate::kernel::error::Result;

const DISOWN_EVERY: Duration = Duration::from_millis(100);
/// A load that takes longer than this is not stored, if another begins meanwhile.
pub(super) const RENEWED_FOR: Duration = Duration::from_secs(60);

/// How a flight goes on after asking the store.
pub(super) enum Route {
    /// Load and store under this lease.
    Load(Token),
    /// Load, and store nothing: the store is gone.
    WithoutStore,
    /// Load, and store nothing: another's load takes too long.
    Impatient,
    Land(Outcome),
}

/// The answer to a question for the lease.
pub(super) enum Asked {
    Settled(Route),
    /// Another one loads; `other` if it is a flight of this process that the store vouches for.
    Held {
        left: Duration,
        other: Option<Arc<Flight>>,
    },
    /// There was an entry that cannot be used, and which one is known now.
    Again,
}

impl<V> Pilot<V>
where
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    /// Notes generation and sequence, in a cache with tags: what is loaded from here on is younger.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(super) async fn note_tide(&mut self) -> Result<()> {
        if !self.cache.policy.tagged {
            return Ok(());
        }
        let noted_at = self.cache.engine.clock.now();
        let tide = self.cache.tide(self.cache.policy.ttl).await?;
        self.departure.is_dated(tide);
        self.tide = Some((tide, noted_at));
        Ok(())
    }

    /// Asks for the lease until there is an entry, a lease, or no more patience.
    pub(super) async fn ask(&mut self, mut unusable: Option<Bytes>) -> Route {
        let engine = Arc::clone(&self.cache.engine);
        let patience_ends = engine.clock.now().after(WAIT_MAX);
        for round in 0.. {
            // Before the question: a change that comes after it ends the pause.
            let wake = self.cache.note_of(&self.key);
            match self.ask_at_once(&mut unusable).await {
                Asked::Settled(route) => return route,
                Asked::Again => {}
                Asked::Held { other: Some(other), .. } => {
                    // Not for ever: its loader may be waiting for this very flight.
                    return tokio::select! {
                        biased;
                        outcome = other.outcome() => Route::Land(outcome),
                        () = engine.clock.sleep_until(patience_ends) => Route::Impatient,
                    };
                }
                Asked::Held { left, other: None } => {
                    let now = engine.clock.now();
                    if now >= patience_ends {
                        return Route::Impatient;
                    }
                    self.departure.asks_again_later();
                    self.pause(round, now, left, wake).await;
                }
            }
        }
        Route::Impatient
    }

    /// Asks for the lease, once.
    pub(super) async fn ask_at_once(&mut self, unusable: &mut Option<Bytes>) -> Asked {
        let engine = Arc::clone(&self.cache.engine);
        // The tags are a part of the question: whoever comes after this joins no more.
        self.departure.asks();
        if let Err(error) = self.note_tide().await {
            self.cache.recorder.shielded("tags", &error);
            return Asked::Settled(Route::WithoutStore);
        }
        let token = Token::random();
        self.replaces = unusable.is_some();
        let mut asked = engine.backend.lease(&self.key, unusable.as_deref(), token, LEASE).await;
        if planted!(TokensSentTwice) && asked.is_err() {
            asked = engine.backend.lease(&self.key, unusable.as_deref(), token, LEASE).await;
        }
        match asked {
            Ok(Lease::Granted) => {
                self.departure.holds(token);
                Asked::Settled(Route::Load(token))
            }
            Ok(Lease::Entry(stored)) => match self.cache.usable(&self.key, &stored).await {
                Ok(Some(value)) if value.is_some() || self.kind == Kind::Find => {
                    let value = value.map(any);
                    Asked::Settled(Route::Land(Outcome::Value { value, from_store: true }))
                }
                Ok(_) => {
                    *unusable = Miss::<V>::unusable(&stored).unusable;
                    Asked::Again
                }
                Err(error) => {
                    self.cache.recorder.shielded("tags", &error);
                    Asked::Settled(Route::WithoutStore)
                }
            },
            Ok(Lease::Held { left, holder }) => {
                // The store has just vouched for the lease of a flight of our own.
                let types = self.departure.types();
                let other = holder.and_then(|h| {
                    engine.flights.holding(h, types, self.tide.map(|(tide, _)| tide))
                });
                Asked::Held { left, other }
            }
            Err(error) => {
                self.cache.recorder.shielded("lease", &error);
                if error.maybe_applied() {
                    self.disown(token);
                }
                Asked::Settled(Route::WithoutStore)
            }
        }
    }

    /// Until the store tells of a change of the entry, or it is time to look.
    async fn pause(&self, round: u32, now: Monotonic, lease_left: Duration, wake: Option<Note>) {
        let engine = &self.cache.engine;
        let pause = model::poll_pause(round, lease_left, fastrand::f64());
        let (Some(coherence), Some(note)) = (engine.coherence(), wake) else {
            return engine.clock.sleep_until(now.after(pause)).await;
        };
        // Told of changes, it need not look often; others share the bell.
        let pause = model::poll_pause(u32::MAX, lease_left, fastrand::f64());
        let time = std::pin::pin!(engine.clock.sleep_until(now.after(pause)));
        let told = async {
            loop {
                let changed = coherence.changed(&note);
                if !coherence.holds(&note) {
                    return;
                }
                changed.await;
            }
        };
        tokio::select! {
            biased;
            () = told => {}
            () = time => {}
        }
    }

    /// Waits for a load, and prolongs its lease meanwhile.
    pub(super) async fn renewing<T>(
        &self,
        mut load: tokio::task::JoinHandle<T>,
        mut lease: Option<Token>,
    ) -> Result<T, tokio::task::JoinError> {
        let clock = &self.cache.engine.clock;
        let gives_up = clock.now().after(RENEWED_FOR);
        loop {
            let renewal = clock.now().after(LEASE / 2);
            tokio::select! {
                biased;
                joined = &mut load => return joined,
                () = clock.sleep_until(renewal), if lease.is_some() => {
                    lease = match clock.now() < gives_up {
                        true => self.renewed(lease).await,
                        // It may hang for ever: others get their turn.
                        false => None,
                    };
                }
            }
        }
    }

    pub(super) async fn renewed(&self, lease: Option<Token>) -> Option<Token> {
        let token = lease?;
        match self.cache.engine.backend.renew(&self.key, token, LEASE).await {
            Ok(true) => Some(token),
            // Revoked: the value will go to those who wait, and nowhere else.
            Ok(false) => None,
            Err(error) => {
                self.cache.recorder.shielded("renew", &error);
                Some(token)
            }
        }
    }

    /// Gives a lease back later, when the store answers again, so that others need not wait for
    /// its end. A lease whose grant was lost can't be used: the request may also run late, after
    /// an invalidation that it then outlives.
    pub(super) fn disown(&self, token: Token) {
        let (engine, key) = (Arc::clone(&self.cache.engine), self.key.clone());
        let lease_ends = engine.clock.now().after(LEASE);
        tokio::spawn(async move {
            while engine.backend.release(&key, token).await.is_err() {
                let next = engine.clock.now().after(DISOWN_EVERY);
                if next >= lease_ends {
                    break;
                }
                engine.clock.sleep_until(next).await;
            }
        });
    }

    pub(super) async fn give_back(&self, token: Token) {
        if let Err(error) = self.cache.engine.backend.release(&self.key, token).await {
            self.cache.recorder.shielded("release", &error);
            self.disown(token);
        }
    }
}
