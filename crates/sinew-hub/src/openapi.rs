//! `/openapi.json`, generated from the routes.

use serde::Serialize;
use utoipa::openapi::{ContentBuilder, OpenApi as Document, Ref, ResponseBuilder};
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
        (name = "limit", description = "Rate limits, exact over the whole fleet"),
        (name = "lock", description = "Locks with fences, held by a token"),
        (name = "redis", description = "The store itself, for operators"),
        (name = "audit", description = "Who has changed what"),
        (name = "health", description = "For load balancers and orchestrators"),
    ),
)]
pub(crate) struct Api;

/// What the limits around every route answer, where a route says nothing else of the status.
const OF_EVERY_ROUTE: [(&str, &str); 2] =
    [("503", "Too many requests at once: try again soon"), ("504", "The request took too long")];

pub(crate) fn with_limits(mut document: Document) -> Document {
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            let responses = &mut operation.responses.responses;
            for (status, description) in OF_EVERY_ROUTE {
                responses.entry(status.to_owned()).or_insert_with(|| problem(description).into());
            }
        }
    }
    document
}

fn problem(description: &str) -> ResponseBuilder {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("ProblemBody"))).build();
    ResponseBuilder::new().description(description).content("application/problem+json", body)
}
