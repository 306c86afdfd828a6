//! Content on its way to the client, and, where there is not too much of it, to the store.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use ::http::HeaderMap;
use ::http::header::CONTENT_LENGTH;
use ::http_body::{Body, Frame, SizeHint};
use ::http_body_util::BodyExt as _;
use ::http_body_util::combinators::UnsyncBoxBody;
use bytes::{Bytes, BytesMut};

/// The body of a response that came through a [`CacheLayer`](crate::CacheLayer): from the store, or
/// the service's own. `D` is the service's error in the middle of a body.
pub struct CacheBody<D>(Content<D>);

enum Content<D> {
    Whole(Bytes),
    Service {
        /// What was read of it and is sent first.
        read: VecDeque<Result<Frame<Bytes>, D>>,
        /// `None` if it ended, and not where its headers say: then it does not say so until it
        /// has to, or a server would take what there is for the whole.
        rest: Option<UnsyncBoxBody<Bytes, D>>,
    },
}

// Nothing in it is pinned in place: the service's body has a box of its own.
impl<D> Unpin for CacheBody<D> {}

impl<D> fmt::Debug for CacheBody<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = match &self.0 {
            Content::Whole(_) => "whole",
            Content::Service { .. } => "service",
        };
        f.debug_tuple("CacheBody").field(&of).finish()
    }
}

impl<D> CacheBody<D> {
    pub(super) fn whole(content: Bytes) -> Self {
        Self(Content::Whole(content))
    }

    pub(super) fn empty() -> Self {
        Self::whole(Bytes::new())
    }

    pub(super) fn service(body: UnsyncBoxBody<Bytes, D>) -> Self {
        Self(Content::Service { read: VecDeque::new(), rest: Some(body) })
    }
}

impl<D> Body for CacheBody<D> {
    type Data = Bytes;
    type Error = D;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, D>>> {
        match &mut self.get_mut().0 {
            Content::Whole(content) => {
                let content = std::mem::take(content);
                Poll::Ready((!content.is_empty()).then(|| Ok(Frame::data(content))))
            }
            Content::Service { read, rest } => match (read.pop_front(), rest) {
                (Some(frame), _) => Poll::Ready(Some(frame)),
                (None, Some(rest)) => Pin::new(rest).poll_frame(cx),
                (None, None) => Poll::Ready(None),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Content::Whole(content) => content.is_empty(),
            Content::Service { read, rest } => {
                read.is_empty() && rest.as_ref().is_some_and(Body::is_end_stream)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Whole(content) => SizeHint::with_exact(content.len() as u64),
            Content::Service { read, rest } => {
                let frames = read.iter().filter_map(|frame| frame.as_ref().ok());
                let read: usize = frames.filter_map(Frame::data_ref).map(Bytes::len).sum();
                let rest = rest.as_ref().map_or_else(SizeHint::new, Body::size_hint);
                let read = read as u64;
                let mut hint = SizeHint::new();
                if let Some(upper) = rest.upper() {
                    hint.set_upper(upper.saturating_add(read));
                }
                hint.set_lower(rest.lower().saturating_add(read));
                hint
            }
        }
    }
}

/// Content in more pieces than this is not taken whole: each weighs more than a byte that is in it.
const FRAMES_MAX: usize = 16_384;

/// What became of the attempt to take a body whole.
pub(super) enum Taken<D> {
    Whole(Bytes),
    /// Too long, not as long as its headers say, with trailers, or broken off: nothing to store,
    /// and to be sent on as it was.
    Partly(CacheBody<D>),
}

/// Takes the body of a response with these headers whole, if it has no more than `len_max` bytes;
/// never holds much more than those.
pub(super) async fn take<D>(
    mut body: UnsyncBoxBody<Bytes, D>,
    headers: &HeaderMap,
    len_max: usize,
) -> Taken<D> {
    if body.size_hint().lower() > len_max as u64 {
        return Taken::Partly(CacheBody::service(body));
    }
    let (mut read, mut len) = (VecDeque::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        let data_len = frame.as_ref().ok().and_then(Frame::data_ref).map(Bytes::len);
        len = len.saturating_add(data_len.unwrap_or(0));
        // Nothing in it, and without end there could be any number of them.
        if data_len == Some(0) {
            continue;
        }
        read.push_back(frame);
        if data_len.is_none() || len > len_max || read.len() > FRAMES_MAX {
            return Taken::Partly(CacheBody(Content::Service { read, rest: Some(body) }));
        }
    }
    if !is_as_long_as_said(headers, len) {
        return Taken::Partly(CacheBody(Content::Service { read, rest: None }));
    }
    Taken::Whole(joined(read, len))
}

/// RFC 9111, 3.3.
fn is_as_long_as_said(headers: &HeaderMap, len: usize) -> bool {
    headers.get_all(CONTENT_LENGTH).iter().all(|said| {
        let said = said.to_str().ok().and_then(|said| said.parse::<usize>().ok());
        said == Some(len)
    })
}

fn joined<D>(read: VecDeque<Result<Frame<Bytes>, D>>, len: usize) -> Bytes {
    let mut parts = read.into_iter().filter_map(|frame| frame.ok()?.into_data().ok());
    let Some(first) = parts.next() else { return Bytes::new() };
    if first.len() == len {
        return first;
    }
    let mut whole = BytesMut::with_capacity(len);
    whole.extend_from_slice(&first);
    for part in parts {
        whole.extend_from_slice(&part);
    }
    whole.freeze()
}

#[cfg(test)]
mod tests {
    use ::http::HeaderValue;
    use ::http_body_util::StreamBody;
    use futures_util::stream;

    use super::*;

    type Frames = Vec<Result<Frame<Bytes>, &'static str>>;

    fn body(frames: Frames) -> UnsyncBoxBody<Bytes, &'static str> {
        StreamBody::new(stream::iter(frames)).boxed_unsync()
    }

    fn data(text: &'static str) -> Result<Frame<Bytes>, &'static str> {
        Ok(Frame::data(Bytes::from_static(text.as_bytes())))
    }

    /// What a client reads: data, then how it ends.
    async fn read(mut body: CacheBody<&'static str>) -> (String, &'static str) {
        let mut text = String::new();
        while let Some(frame) = body.frame().await {
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => text.push_str(std::str::from_utf8(&data).unwrap()),
                Ok(Err(_)) => return (text, "trailers"),
                Err(error) => return (text, error),
            }
        }
        (text, "end")
    }

    async fn taken(frames: Frames, len_max: usize) -> Result<Bytes, (String, &'static str)> {
        match take(body(frames), &HeaderMap::new(), len_max).await {
            Taken::Whole(content) => Ok(content),
            Taken::Partly(body) => Err(read(body).await),
        }
    }

    #[tokio::test]
    async fn a_body_is_taken_whole_up_to_the_limit() {
        let frames = || vec![data("ab"), data(""), data("c")];
        assert_eq!(taken(frames(), 3).await, Ok(Bytes::from_static(b"abc")));
        assert_eq!(taken(frames(), 2).await, Err(("abc".to_owned(), "end")));
        assert_eq!(taken(vec![], 0).await, Ok(Bytes::new()));
    }

    #[tokio::test]
    async fn what_ends_otherwise_is_sent_on_as_it_was() {
        let trailers = || Ok(Frame::trailers(HeaderMap::new()));
        let broken = taken(vec![data("ab"), Err("broken")], 9).await;
        assert_eq!(broken, Err(("ab".to_owned(), "broken")));
        let with_trailers = taken(vec![data("ab"), trailers()], 9).await;
        assert_eq!(with_trailers, Err(("ab".to_owned(), "trailers")));
    }

    #[tokio::test]
    async fn what_is_not_as_long_as_its_headers_say_is_no_whole() {
        for (said, is_whole) in
            [("3", true), ("2", false), ("4", false), ("", false), ("3, 3", false)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static(said));
            match take(body(vec![data("abc")]), &headers, 9).await {
                Taken::Whole(_) => assert!(is_whole, "{said}"),
                Taken::Partly(body) => {
                    assert!(!is_whole, "{said}");
                    assert_eq!(body.size_hint().exact(), None);
                    assert_eq!(read(body).await, ("abc".to_owned(), "end"));
                }
            }
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("1"));
        let Taken::Partly(nothing) = take(body(vec![]), &headers, 9).await else {
            panic!("less than a byte");
        };
        assert!(!nothing.is_end_stream(), "or it would be sent as the whole");
    }

    #[tokio::test]
    async fn what_was_read_counts_in_the_length() {
        let content = body(vec![data("ab"), data("c")]);
        let Taken::Partly(body) = take(content, &HeaderMap::new(), 1).await else {
            panic!("more than a byte");
        };
        assert_eq!(body.size_hint().lower(), 2);
        let whole: CacheBody<&str> = CacheBody::whole(Bytes::from_static(b"abc"));
        assert_eq!(whole.size_hint().exact(), Some(3));
        assert!(!whole.is_end_stream() && CacheBody::<()>::empty().is_end_stream());
    }
}
