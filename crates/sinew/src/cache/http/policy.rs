//! What RFC 9111 decides, without I/O: what may be stored and how long, how old it is, and
//! whether it answers a request as it is. Section numbers are those of RFC 9111.

use std::time::{Duration, SystemTime};

use ::http::header::{
    AGE, AUTHORIZATION, CONTENT_RANGE, DATE, ETAG, EXPIRES, LAST_MODIFIED, SET_COOKIE,
};
use ::http::{HeaderMap, StatusCode};

use super::cache_status::Fwd;
use super::directives::{RequestDirectives, ResponseDirectives, seconds};
use super::fields;
use crate::kernel::ttl::Ttl;

/// A tenth of how long a response had not changed, and no more than a day (4.2.2).
const HEURISTIC_SHARE: u32 = 10;
const HEURISTIC_MAX: Duration = Duration::from_secs(24 * 3600);

/// What the RFC leaves to the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) heuristics: bool,
    pub(super) share_authorized: bool,
}

/// What a request has to say about reuse.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) directives: RequestDirectives,
    pub(super) is_authorized: bool,
}

impl Asked {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self {
            directives: RequestDirectives::of(headers),
            is_authorized: headers.contains_key(AUTHORIZATION),
        }
    }
}

/// What decides about a response, read from it once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Metadata {
    status: StatusCode,
    directives: ResponseDirectives,
    age_value: Duration,
    date: SystemTime,
    /// By `Expires`, after the date. Zero if that cannot be read (5.3).
    expires_in: Option<Duration>,
    last_modified: Option<SystemTime>,
    has_validator: bool,
    requested: SystemTime,
    received: SystemTime,
}

/// What may be done with a stored response that a request selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reuse {
    Fresh,
    /// Serve it, and validate it meanwhile (RFC 5861, 3).
    StaleWhileRevalidate,
    /// The request takes it although it is stale.
    Stale,
    /// Not before the service was asked.
    Validate(Fwd),
}

impl Metadata {
    pub(super) fn of(
        status: StatusCode,
        headers: &HeaderMap,
        requested: SystemTime,
        received: SystemTime,
    ) -> Self {
        let date = fields::date(headers, DATE).unwrap_or(received);
        let expires_in = || {
            let expires = fields::date(headers, EXPIRES);
            expires.map_or(Duration::ZERO, |expires| since(expires, date))
        };
        Self {
            status,
            directives: ResponseDirectives::of(headers),
            age_value: seconds(fields::text(headers, AGE).and_then(|age| age.split(',').next())),
            date,
            expires_in: headers.contains_key(EXPIRES).then(expires_in),
            last_modified: fields::date(headers, LAST_MODIFIED),
            has_validator: headers.contains_key(ETAG) || headers.contains_key(LAST_MODIFIED),
            requested,
            received,
        }
    }

    pub(super) fn requested(&self) -> SystemTime {
        self.requested
    }

    pub(super) fn received(&self) -> SystemTime {
        self.received
    }

    /// When the response last changed, as far as anyone knows (4.3.2).
    pub(super) fn last_modified(&self) -> SystemTime {
        self.last_modified.unwrap_or(self.date)
    }

    /// Whether a shared cache may store it (3). `headers` are the response's own.
    pub(super) fn may_be_stored(&self, headers: &HeaderMap, asked: &Asked, rules: Rules) -> bool {
        let said = &self.directives;
        let is_whole = !self.status.is_informational()
            && self.status != StatusCode::PARTIAL_CONTENT
            && self.status != StatusCode::NOT_MODIFIED
            && !headers.contains_key(CONTENT_RANGE);
        // must-understand overrides no-store where it is understood (5.2.2.3).
        let is_forbidden = match said.must_understand {
            true => !is_understood(self.status),
            false => said.no_store,
        };
        is_whole
            && !is_forbidden
            && !said.private
            && !asked.directives.no_store
            && self.is_for(asked, rules)
            // A cookie is someone's, unless the response says that it is everyone's.
            && (said.public || !headers.contains_key(SET_COOKIE))
            && (is_heuristically_cacheable(self.status) || self.explicit_lifetime().is_some())
            && fields::vary(headers).is_some()
    }

    /// What was or is asked for with credentials, a shared cache may only give out where the response
    /// says so (3.5).
    pub(super) fn is_for(&self, asked: &Asked, rules: Rules) -> bool {
        let said = &self.directives;
        !asked.is_authorized
            || rules.share_authorized
            || said.public
            || said.must_revalidate
            || said.s_maxage.is_some()
    }

    /// How long it is of use after it was received: for as long as it may be served, and with a
    /// validator for `grace` more, since a 304 makes it fresh again. `None` if it is of none.
    pub(super) fn keep_for(&self, rules: Rules, grace: Duration) -> Option<Ttl> {
        let served_for = match self.directives.no_cache {
            true => Duration::ZERO,
            false => self.lifetime(rules).saturating_add(self.served_stale_for()),
        };
        let left = served_for.saturating_sub(self.age(self.received));
        let kept_for = match self.has_validator {
            true => left.saturating_add(grace),
            false => left,
        };
        Ttl::new(kept_for.min(Ttl::MAX.duration())).ok()
    }

    /// How long it is fresh (4.2.1, 4.2.2).
    pub(super) fn lifetime(&self, rules: Rules) -> Duration {
        self.explicit_lifetime().unwrap_or_else(|| self.heuristic_lifetime(rules))
    }

    fn explicit_lifetime(&self) -> Option<Duration> {
        self.directives.s_maxage.or(self.directives.max_age).or(self.expires_in)
    }

    fn heuristic_lifetime(&self, rules: Rules) -> Duration {
        let may_guess =
            rules.heuristics && (self.directives.public || is_heuristically_cacheable(self.status));
        match self.last_modified {
            Some(modified) if may_guess => {
                (since(self.date, modified) / HEURISTIC_SHARE).min(HEURISTIC_MAX)
            }
            _ => Duration::ZERO,
        }
    }

    /// How long ago the service made or validated it (4.2.3).
    pub(super) fn age(&self, now: SystemTime) -> Duration {
        let apparent_age = since(self.received, self.date);
        let response_delay = since(self.received, self.requested);
        let corrected = self.age_value.saturating_add(response_delay);
        apparent_age.max(corrected).saturating_add(since(now, self.received))
    }

    /// Seconds until it is stale, negative if it is.
    pub(super) fn ttl(&self, rules: Rules, now: SystemTime) -> i64 {
        let whole = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        whole(self.lifetime(rules)).saturating_sub(whole(self.age(now)))
    }

    /// What a request that selects it may be given (4, 5.2.1; RFC 5861).
    pub(super) fn reuse(&self, asked: &RequestDirectives, rules: Rules, now: SystemTime) -> Reuse {
        let (age, lifetime) = (self.age(now), self.lifetime(rules));
        if self.directives.no_cache {
            return Reuse::Validate(Fwd::Stale);
        }
        let is_too_old = asked.max_age.is_some_and(|max| age > max);
        let ends_too_soon = asked.min_fresh.is_some_and(|min| lifetime.saturating_sub(age) < min);
        if asked.no_cache || is_too_old || ends_too_soon {
            return Reuse::Validate(Fwd::Request);
        }
        if age < lifetime {
            return Reuse::Fresh;
        }
        let stale_for = age.saturating_sub(lifetime);
        // Who says how old or how fresh does not take what is stale (5.2.1.1).
        let takes_fresh_only =
            asked.max_stale.is_none() && (asked.max_age.is_some() || asked.min_fresh.is_some());
        if self.must_not_be_stale() || takes_fresh_only {
            return Reuse::Validate(Fwd::Stale);
        }
        if self.directives.stale_while_revalidate.is_some_and(|max| stale_for <= max) {
            return Reuse::StaleWhileRevalidate;
        }
        // s-maxage is proxy-revalidate, too: no request overrides it (5.2.2.10).
        let max_stale = asked.max_stale.filter(|_| self.directives.s_maxage.is_none());
        match max_stale.is_some_and(|max| stale_for <= max) {
            true => Reuse::Stale,
            false => Reuse::Validate(Fwd::Stale),
        }
    }

    /// Whether a request that asks for nothing special is given it as it is.
    pub(super) fn is_fresh(&self, rules: Rules, now: SystemTime) -> bool {
        self.reuse(&RequestDirectives::default(), rules, now) == Reuse::Fresh
    }

    /// Whether it may be served where the service has failed (RFC 5861, 4).
    pub(super) fn is_better_than_an_error(
        &self,
        asked: &RequestDirectives,
        rules: Rules,
        now: SystemTime,
    ) -> bool {
        // s-maxage is proxy-revalidate, too: no request overrides it (5.2.2.10).
        let asked = asked.stale_if_error.filter(|_| self.directives.s_maxage.is_none());
        let window = self.directives.stale_if_error.max(asked);
        let stale_for = self.age(now).saturating_sub(self.lifetime(rules));
        !self.must_not_be_stale() && window.is_some_and(|max| stale_for <= max)
    }

    fn must_not_be_stale(&self) -> bool {
        let said = &self.directives;
        said.no_cache || said.must_revalidate || said.proxy_revalidate
    }

    fn served_stale_for(&self) -> Duration {
        let said = &self.directives;
        match self.must_not_be_stale() {
            true => Duration::ZERO,
            false => said.stale_while_revalidate.max(said.stale_if_error).unwrap_or_default(),
        }
    }
}

/// A response that stands for a service in trouble (RFC 5861, 4).
pub(super) fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// RFC 9110, 15.1. 206 is one of them, and never stored here.
fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// Statuses whose rules of caching are kept here.
fn is_understood(status: StatusCode) -> bool {
    is_heuristically_cacheable(status) || matches!(status.as_u16(), 302 | 303 | 307)
}

/// Zero where `later` is the earlier one: clocks differ.
fn since(later: SystemTime, earlier: SystemTime) -> Duration {
    later.duration_since(earlier).unwrap_or_default()
}

#[cfg(test)]
mod tests;
