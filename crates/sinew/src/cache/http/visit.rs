//! One request through the cache: look, choose, decide, and tell.

use std::sync::Arc;
use std::time::SystemTime;

use ::http::{HeaderMap, StatusCode};
use ::http_body::Body as _;
use tokio::sync::oneshot;

use super::answer::{self, Answer};
use super::body::CacheBody;
use super::cache_status::{CacheStatus, Fwd};
use super::courier::{Courier, Fetched, Forward, Given, Look, Reply};
use super::front::Front;
use super::key::HttpKey;
use super::policy::{self, Reuse, Rules};
use super::request::{Presented, SendAs};
use super::stored::{Stored, Trip};
use super::validation;
use crate::cache::{LoadError, Source, Traced};

/// How many stored responses may send a request on to another variant: a service that changes its
/// `Vary` all the time is asked rather than followed.
const VARIANTS_MAX: usize = 4;

pub(super) struct Visit<D, E> {
    courier: Courier<D, E>,
    reply: oneshot::Receiver<Reply<D, E>>,
}

/// What is known of a request's way so far.
struct Way {
    fwd: Fwd,
    /// Whether waiting for another request was of use, where it did wait.
    collapsed: Option<bool>,
    /// That other request found the service failing.
    service_failed: bool,
    /// Under which key nobody waits for another.
    unshared: Option<HttpKey>,
    /// What the request selects, and is not served without a question.
    candidate: Option<(HttpKey, Arc<Stored>)>,
}

enum Found {
    /// A response from the store, or one that another request has brought.
    Stored(Arc<Stored>),
    /// This request is on its way itself.
    Ours,
    Nothing,
}

impl From<Option<Arc<Stored>>> for Found {
    fn from(stored: Option<Arc<Stored>>) -> Self {
        stored.map_or(Self::Nothing, Self::Stored)
    }
}

impl Way {
    fn new() -> Self {
        Self {
            fwd: Fwd::UriMiss,
            collapsed: None,
            service_failed: false,
            unshared: None,
            candidate: None,
        }
    }

    /// What another request brought is not for this one.
    fn waited_in_vain(&mut self) {
        self.collapsed = self.collapsed.map(|_| false);
    }

    fn was_collapsed(&self) -> bool {
        self.collapsed == Some(true)
    }
}

impl<D: Send + 'static, E: Send + 'static> Visit<D, E> {
    pub(super) fn new(
        front: Arc<Front>,
        presented: Arc<Presented>,
        forward: Forward<D, E>,
    ) -> Self {
        let (sender, reply) = oneshot::channel();
        Self { courier: Courier::new(front, presented, forward, sender), reply }
    }

    pub(super) async fn answer(self) -> Result<Answer<D>, E> {
        let (mut way, mut key) = (Way::new(), self.presented().key.clone());
        for _ in 0..VARIANTS_MAX {
            let stored = match self.find(&key, &mut way).await {
                Found::Stored(stored) => stored,
                Found::Ours => return self.ours(way).await,
                Found::Nothing => break,
            };
            if stored.is_selected_by(&self.presented().headers) {
                return self.offered(key, stored, way).await;
            }
            way.fwd = Fwd::VaryMiss;
            way.waited_in_vain();
            key = self.presented().key.variant(&stored.vary, &self.presented().headers);
        }
        self.alone(way).await
    }

    async fn find(&self, key: &HttpKey, way: &mut Way) -> Found {
        let (front, presented) = (self.front(), self.presented());
        let is_unshared = front.is_unshared(key, &presented.asked);
        if is_unshared {
            way.unshared = Some(key.clone());
        }
        if is_unshared || presented.only_looks() {
            // An error is a miss: the service has the answer.
            let entry = front.cache.get(key).await.ok().flatten();
            return entry.and_then(|entry| entry.stored()).into();
        }
        self.landed(self.courier.look(key).await, way)
    }

    fn landed(&self, look: Look, way: &mut Way) -> Found {
        match look {
            Ok(Traced { value, source }) if source != Source::Loaded => value.stored().into(),
            _ if self.courier.is_on_its_way() => Found::Ours,
            Ok(Traced { value, .. }) => {
                let stored = value.stored();
                way.collapsed = Some(stored.is_some());
                stored.into()
            }
            Err(LoadError::Source(_)) => {
                way.collapsed = Some(false);
                way.service_failed = true;
                Found::Nothing
            }
            Err(_) => Found::Nothing,
        }
    }

    /// With a stored response that the request selects.
    async fn offered(
        self,
        key: HttpKey,
        stored: Arc<Stored>,
        mut way: Way,
    ) -> Result<Answer<D>, E> {
        let (asked, now) = (&self.presented().asked, SystemTime::now());
        if !stored.metadata.is_for(asked, self.rules()) {
            way.fwd = Fwd::Request;
            way.waited_in_vain();
            return self.alone(way).await;
        }
        way.fwd = match stored.metadata.reuse(&asked.directives, self.rules(), now) {
            Reuse::Fresh | Reuse::Stale => return Ok(self.reused(&stored, &way, now)),
            Reuse::StaleWhileRevalidate => {
                if !self.presented().only_looks() {
                    self.refresh(key, &stored);
                }
                return Ok(self.reused(&stored, &way, now));
            }
            Reuse::Validate(fwd) => fwd,
        };
        let is_fresh_from_the_service = way.was_collapsed();
        way.waited_in_vain();
        way.candidate = Some((key.clone(), Arc::clone(&stored)));
        if is_fresh_from_the_service || self.presented().only_looks() {
            return self.alone(way).await;
        }
        self.validated(&key, &stored, way).await
    }

    async fn validated(
        self,
        key: &HttpKey,
        stale: &Arc<Stored>,
        mut way: Way,
    ) -> Result<Answer<D>, E> {
        let look = self.courier.revalidate(key, stale).await;
        match self.landed(look, &mut way) {
            Found::Ours => return self.ours(way).await,
            Found::Stored(stored) if self.is_usable(&stored) => {
                return Ok(self.reused(&stored, &way, SystemTime::now()));
            }
            Found::Stored(_) | Found::Nothing => way.waited_in_vain(),
        }
        // A service in trouble need not be asked again by everyone who waited.
        let stale = way.service_failed.then(|| self.instead_of_an_error(&way, None)).flatten();
        match stale {
            Some(answer) => Ok(answer),
            None => self.alone(way).await,
        }
    }

    /// Validates in the background, once at a time in this process and once in the fleet.
    fn refresh(&self, key: HttpKey, stale: &Arc<Stored>) {
        let Some(claim) = self.front().refreshing.claim(&key) else { return };
        let (courier, stale) = (self.courier.clone(), Arc::clone(stale));
        tokio::spawn(async move {
            let _until_it_is_over = claim;
            // The stale one stays until then, whatever comes of it.
            let _ = courier.revalidate(&key, &stale).await;
        });
    }

    /// With what comes of this request's own way to the service.
    async fn ours(mut self, way: Way) -> Result<Answer<D>, E> {
        match (&mut self.reply).await {
            Ok(Ok(outcome)) => self.settled(outcome, &way),
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            // The runtime has stopped the load: it is going down.
            Err(_) => Ok(answer::empty(StatusCode::INTERNAL_SERVER_ERROR)),
        }
    }

    /// Goes to the service as if there were no cache.
    async fn alone(self, way: Way) -> Result<Answer<D>, E> {
        if self.presented().asked.directives.only_if_cached {
            // RFC 9111, 5.2.1.7.
            return Ok(answer::empty(StatusCode::GATEWAY_TIMEOUT));
        }
        let Some(forward) = self.courier.take() else { return self.ours(way).await };
        let outcome = match forward(SendAs::AsItCame).await {
            Ok(given) => {
                self.note_whether_shared(&given, &way);
                let status = given.status();
                self.note_whether_changed(status, given.headers(), &way).await;
                Ok(Fetched { answer: given.map(CacheBody::service), status, ttl: None })
            }
            Err(error) => Err(error),
        };
        self.settled(outcome, &way)
    }

    /// Whether the next one may wait for another again.
    fn note_whether_shared(&self, given: &Given<D>, way: &Way) {
        let Some(key) = &way.unshared else { return };
        let (settings, asked) = (&self.front().settings, &self.presented().asked);
        let now = SystemTime::now();
        let metadata = Trip::new(now, now).metadata(given.status(), given.headers());
        let fits = given.body().size_hint().lower() <= settings.body_len_max as u64;
        let is_of_use = metadata.keep_for(settings.rules, settings.grace).is_some();
        if fits && is_of_use && metadata.may_be_stored(given.headers(), asked, settings.rules) {
            self.front().mark_shared(key, asked);
        }
    }

    /// A response to HEAD that tells of other content drops what is stored (RFC 9111, 4.3.5).
    async fn note_whether_changed(&self, status: StatusCode, headers: &HeaderMap, way: &Way) {
        let Some((key, stored)) = &way.candidate else { return };
        let is_told = self.presented().is_head && status == StatusCode::OK;
        if is_told && !validation::describes(headers, &stored.headers) {
            // If that fails, it is stale all the same.
            let _ = self.front().cache.invalidate(key).await;
        }
    }

    fn settled(&self, outcome: Result<Fetched<D>, E>, way: &Way) -> Result<Answer<D>, E> {
        let fetched = match outcome {
            Ok(fetched) => fetched,
            Err(error) => return self.instead_of_an_error(way, None).ok_or(error),
        };
        if policy::is_failure(fetched.status)
            && let Some(answer) = self.instead_of_an_error(way, Some(fetched.status))
        {
            return Ok(answer);
        }
        let Fetched { mut answer, status, ttl } = fetched;
        let said = CacheStatus {
            fwd_status: (status != answer.status()).then_some(status),
            collapsed: way.collapsed,
            ttl,
            ..CacheStatus::forwarded(way.fwd)
        };
        said.append_to(answer.headers_mut());
        Ok(answer)
    }

    /// RFC 5861, 4.
    fn instead_of_an_error(&self, way: &Way, status: Option<StatusCode>) -> Option<Answer<D>> {
        let ((_, stale), now) = (way.candidate.as_ref()?, SystemTime::now());
        let asked = &self.presented().asked.directives;
        if !stale.metadata.is_better_than_an_error(asked, self.rules(), now) {
            return None;
        }
        let said = CacheStatus {
            fwd_status: status,
            collapsed: way.collapsed,
            ttl: Some(stale.ttl(self.rules(), now)),
            ..CacheStatus::forwarded(way.fwd)
        };
        let mut answer = answer::reused(stale, self.presented(), now);
        said.append_to(answer.headers_mut());
        Some(answer)
    }

    fn reused(&self, stored: &Stored, way: &Way, now: SystemTime) -> Answer<D> {
        let said = CacheStatus {
            fwd: way.was_collapsed().then_some(way.fwd),
            collapsed: way.collapsed.filter(|_| way.was_collapsed()),
            ttl: Some(stored.ttl(self.rules(), now)),
            ..CacheStatus::default()
        };
        let mut answer = answer::reused(stored, self.presented(), now);
        said.append_to(answer.headers_mut());
        answer
    }

    fn is_usable(&self, stored: &Stored) -> bool {
        let (presented, now) = (self.presented(), SystemTime::now());
        let (asked, rules) = (&presented.asked, self.rules());
        let reuse = stored.metadata.reuse(&asked.directives, rules, now);
        stored.is_selected_by(&presented.headers)
            && stored.metadata.is_for(asked, rules)
            && !matches!(reuse, Reuse::Validate(_))
    }

    fn front(&self) -> &Front {
        &self.courier.front
    }

    fn presented(&self) -> &Presented {
        &self.courier.presented
    }

    fn rules(&self) -> Rules {
        self.front().settings.rules
    }
}
