//! Bodies that may be long: read as far as there is room for all that are being read.

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use futures_util::StreamExt as _;
use sinew::http::Problem;
use tokio::sync::OwnedSemaphorePermit;

use crate::busy::busy;
use crate::hub::Hub;

/// A body, and the room that it takes among all that are being read.
///
/// # Errors
/// 413 for one that is longer, 503 where there is no room, and 400 where it ends too early.
pub(crate) async fn read(
    hub: &Hub,
    len_max: usize,
    body: Body,
) -> Result<(Bytes, OwnedSemaphorePermit), Problem> {
    let (mut text, mut room) = (Vec::new(), hub.room_for(0).ok_or_else(busy)?);
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk
            .map_err(|_| Problem::bad_request("the body ended too early: expected all of it"))?;
        if text.len() + chunk.len() > len_max {
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body is too large: expected at most {len_max} bytes"),
            ));
        }
        room.merge(hub.room_for(chunk.len()).ok_or_else(busy)?);
        text.extend_from_slice(&chunk);
    }
    Ok((text.into(), room))
}
