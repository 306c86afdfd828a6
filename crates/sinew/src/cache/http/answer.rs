//! Responses to clients.

use std::time::SystemTime;

use ::http::header::{
    AGE, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
};
use ::http::{HeaderValue, Response, StatusCode};
use ::http_body_util::combinators::UnsyncBoxBody;
use bytes::Bytes;

use super::body::CacheBody;
use super::cache_status::{CacheStatus, Fwd};
use super::request::Presented;
use super::stored::Stored;

pub(super) type Answer<D> = Response<CacheBody<D>>;

/// The service's own.
pub(super) fn passed_on<D>(response: Response<UnsyncBoxBody<Bytes, D>>, fwd: Fwd) -> Answer<D> {
    let mut answer = response.map(CacheBody::service);
    CacheStatus::forwarded(fwd).append_to(answer.headers_mut());
    answer
}

/// A stored response that was validated just now.
pub(super) fn validated<D>(stored: &Stored, presented: &Presented) -> Answer<D> {
    let mut answer = Response::new(CacheBody::empty());
    *answer.status_mut() = stored.status;
    *answer.headers_mut() = stored.headers.clone();
    let headers = answer.headers_mut();
    if stored.is_not_modified(&presented.headers) {
        // What describes content that is not there (RFC 9110, 15.4.5).
        for field in
            [CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE]
        {
            headers.remove(field);
        }
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
    } else if presented.is_head {
        // Or else it would be that of no content.
        let length = HeaderValue::from(stored.body.len());
        headers.entry(CONTENT_LENGTH).or_insert(length);
    } else {
        *answer.body_mut() = CacheBody::whole(stored.body.clone());
    }
    answer
}

/// A stored response, as it is.
pub(super) fn reused<D>(stored: &Stored, presented: &Presented, now: SystemTime) -> Answer<D> {
    let mut answer = validated(stored, presented);
    let age = stored.metadata.age(now).as_secs();
    answer.headers_mut().insert(AGE, HeaderValue::from(age));
    answer
}

/// One that the cache has to give by itself.
pub(super) fn empty<D>(status: StatusCode) -> Answer<D> {
    let mut answer = Response::new(CacheBody::empty());
    *answer.status_mut() = status;
    answer
}
