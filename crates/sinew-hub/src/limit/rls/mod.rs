//! Envoy's rate limit service, version 3, over gRPC.

mod answer;
mod message;
mod plan;
pub(crate) mod rules;
mod service;
mod unit;

use sinew::ErrorKind;
use tonic::Status;

pub(crate) use service::serve;

/// What a call that could not be decided ends with.
fn failed(error: &sinew::Error) -> Status {
    match error.kind() {
        ErrorKind::Rejected => Status::invalid_argument(error.to_string()),
        // The rest names hosts, and is for the log.
        _ => {
            tracing::debug!(error = format!("{error:#}"), "a call of Envoy's failed");
            Status::unavailable("the store cannot serve this now")
        }
    }
}
