//! `/openapi.json`, generated from the routes.

use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

/// An error (RFC 9457).
#[derive(Serialize, ToSchema)]
pub(crate) struct ProblemBody {
    r#type: String,
    title: String,
    status: u16,
    /// What was wrong, and what was expected
    detail: String,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sinew",
        description = "What a fleet of services does with Redis, for services in any language.",
        license(name = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "cache", description = "Cache-aside with promises"),
        (name = "redis", description = "The store itself, for operators"),
        (name = "health", description = "For load balancers and orchestrators"),
    ),
)]
pub(crate) struct Api;
