//! A call of the service so that what it gives can be stored.

use std::sync::Arc;
use std::time::SystemTime;

use ::http::{HeaderMap, Response, StatusCode};

use super::answer::{self, Answer};
use super::body::{self, CacheBody, Taken};
use super::courier::{Failed, Fetched, Forward, Given};
use super::front::Front;
use super::key::HttpKey;
use super::policy::{self, Metadata};
use super::request::{Presented, SendAs};
use super::stored::{Stored, StoredResponse, Trip};
use super::validation;
use crate::cache::{Loaded, Loading};
use crate::kernel::ttl::Ttl;

pub(super) struct Fetch {
    pub(super) front: Arc<Front>,
    pub(super) presented: Arc<Presented>,
    pub(super) key: HttpKey,
    /// What is to be validated: stale, or not what the request takes.
    pub(super) stale: Option<Arc<Stored>>,
    pub(super) loading: Loading<StoredResponse>,
}

/// For the client that asked, and for the store and those who wait.
type Brought<D, E> = (Result<Fetched<D>, E>, Result<Loaded<StoredResponse>, Failed>);

impl Fetch {
    pub(super) async fn run<D, E>(self, forward: Forward<D, E>) -> Brought<D, E> {
        let stale = self.stale.as_deref();
        let conditions = stale.map(|stale| validation::conditions(&stale.headers));
        let conditions = conditions.unwrap_or_default();
        let requested = SystemTime::now();
        let given = match forward(SendAs::Fetch { conditions }).await {
            Ok(given) => given,
            Err(error) => return (Err(error), Err(Failed)),
        };
        let trip = Trip::new(requested, SystemTime::now());
        match stale {
            Some(stale) if given.status() == StatusCode::NOT_MODIFIED => {
                let (parts, _) = given.into_parts();
                self.validated(stale, &parts.headers, trip).await
            }
            _ => self.replaced(given, trip).await,
        }
    }

    /// RFC 9111, 4.3.4.
    async fn validated<D, E>(&self, stale: &Stored, by: &HeaderMap, trip: Trip) -> Brought<D, E> {
        let (presented, status) = (&*self.presented, StatusCode::NOT_MODIFIED);
        if !validation::is_about(by, &stale.headers) {
            // Nothing changed, it says, but not of what: it is sent, and not stored as fresh.
            let answer = answer::validated(stale, presented);
            return (Ok(Fetched { answer, status, ttl: None }), Err(Failed));
        }
        let Some(fresh) = stale.freshened(by, &presented.headers, trip) else {
            return self.unshared(answer::validated(stale, presented), status).await;
        };
        let answer = answer::validated(&fresh, presented);
        match self.keep_for(&fresh.metadata, &fresh.headers) {
            Some(ttl) => self.kept(fresh, ttl, answer, status),
            None => self.unshared(answer, status).await,
        }
    }

    async fn replaced<D, E>(&self, given: Given<D>, trip: Trip) -> Brought<D, E> {
        let (parts, content) = given.into_parts();
        let (status, presented) = (parts.status, &*self.presented);
        let metadata = trip.metadata(status, &parts.headers);
        let ttl = self.keep_for(&metadata, &parts.headers);
        let Some(ttl) = ttl.filter(|_| !self.is_worse(status)) else {
            let answer = Response::from_parts(parts, CacheBody::service(content));
            return self.unshared(answer, status).await;
        };
        let len_max = self.front.settings.body_len_max;
        let content = match body::take(content, &parts.headers, len_max).await {
            Taken::Whole(content) => content,
            Taken::Partly(content) => {
                return self.unshared(Response::from_parts(parts, content), status).await;
            }
        };
        let stored = Stored::new(status, &parts.headers, content.clone(), &presented.headers, trip);
        let whole = |parts| Response::from_parts(parts, CacheBody::whole(content));
        match stored {
            Some(stored) if stored.is_not_modified(&presented.headers) => {
                let answer = answer::validated(&stored, presented);
                self.kept(stored, ttl, answer, status)
            }
            Some(stored) => self.kept(stored, ttl, whole(parts), status),
            None => self.unshared(whole(parts), status).await,
        }
    }

    fn keep_for(&self, metadata: &Metadata, headers: &HeaderMap) -> Option<Ttl> {
        let settings = &self.front.settings;
        let asked = &self.presented.asked;
        let may_be_stored = metadata.may_be_stored(headers, asked, settings.rules);
        metadata.keep_for(settings.rules, settings.grace).filter(|_| may_be_stored)
    }

    /// Whether an error would take the place of what can still be served, as it is or instead of
    /// the next error.
    fn is_worse(&self, status: StatusCode) -> bool {
        let (asked, rules) = (&self.presented.asked.directives, self.front.settings.rules);
        let now = SystemTime::now();
        let is_of_use = |stale: &Arc<Stored>| {
            stale.metadata.is_fresh(rules, now)
                || stale.metadata.is_better_than_an_error(asked, rules, now)
        };
        status.is_server_error() && self.stale.as_ref().is_some_and(is_of_use)
    }

    fn kept<D, E>(
        &self,
        stored: Stored,
        ttl: Ttl,
        answer: Answer<D>,
        status: StatusCode,
    ) -> Brought<D, E> {
        self.loading.ttl(ttl);
        for tag in &self.presented.tags {
            self.loading.tag(tag);
        }
        self.front.mark_shared(&self.key, &self.presented.asked);
        let ttl = stored.ttl(self.front.settings.rules, SystemTime::now());
        let stored = StoredResponse::new(Arc::new(stored));
        (Ok(Fetched { answer, status, ttl: Some(ttl) }), Ok(Loaded::Value(stored)))
    }

    /// It is for this request alone.
    async fn unshared<D, E>(&self, answer: Answer<D>, status: StatusCode) -> Brought<D, E> {
        let fetched = Fetched { answer, status, ttl: None };
        if policy::is_failure(status) {
            return (Ok(fetched), Err(Failed));
        }
        self.front.mark_unshared(&self.key, &self.presented.asked);
        if self.is_outdated_by(status) {
            // If that fails, it is asked about again.
            let _ = self.front.cache.invalidate(&self.key).await;
        }
        self.loading.do_not_store();
        (Ok(fetched), Ok(Loaded::Value(StoredResponse::unshared())))
    }

    /// Whether what was asked about is right no more. A 304 is about that very response, and an
    /// error about none; any other answer is to a request that may be alone in not taking what is
    /// fresh.
    fn is_outdated_by(&self, status: StatusCode) -> bool {
        let (rules, now) = (self.front.settings.rules, SystemTime::now());
        self.stale.as_ref().is_some_and(|stale| match status {
            StatusCode::NOT_MODIFIED => true,
            status => !status.is_server_error() && !stale.metadata.is_fresh(rules, now),
        })
    }
}
