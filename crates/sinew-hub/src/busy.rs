//! What is answered where there is no place, or no store, and when to ask again.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use sinew::http::Problem;

use crate::hub::BUSY;

/// When to ask again where there was no room, or no store.
const RETRY_AFTER_S: &str = "1";

/// Has a reply say when to ask again, where it may be over soon.
pub(crate) async fn again_soon(mut reply: Response) -> Response {
    if reply.status() == StatusCode::SERVICE_UNAVAILABLE {
        let after = HeaderValue::from_static(RETRY_AFTER_S);
        reply.headers_mut().entry(header::RETRY_AFTER).or_insert(after);
    }
    reply
}

pub(crate) fn busy() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, BUSY)
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;

    use super::*;

    #[tokio::test]
    async fn what_is_over_soon_says_when_to_ask_again_and_nothing_else_does() {
        let after = async |reply: Response| {
            again_soon(reply).await.headers().get(header::RETRY_AFTER).cloned()
        };
        assert_eq!(after(busy().into_response()).await.unwrap(), RETRY_AFTER_S);
        let later = ([(header::RETRY_AFTER, "7")], busy()).into_response();
        assert_eq!(after(later).await.unwrap(), "7");
        assert_eq!(after(Problem::bad_request("no").into_response()).await, None);
    }
}
