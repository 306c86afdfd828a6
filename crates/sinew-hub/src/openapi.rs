//! `/openapi.json`, generated from the routes.

use axum::http::Uri;
use serde::Serialize;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{ContentBuilder, OpenApi as Document, Ref, ResponseBuilder};
use utoipa::{OpenApi, ToSchema};

use crate::auth::routes::{Need, need};

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
        description = "What a fleet of services does with Redis, for services in any language. A method that a path does not have is answered with 405.",
        license(name = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "cache", description = "Cache-aside with promises"),
        (name = "flag", description = "Feature flags: what they are, and who sees what"),
        (name = "ofrep", description = "Feature flags as OpenFeature's clients ask for them (OFREP 0.3)"),
        (name = "limit", description = "Rate limits, exact over the whole fleet"),
        (name = "lock", description = "Locks with fences, held by a token"),
        (name = "redis", description = "The store itself, for operators"),
        (name = "session", description = "Sessions of users, by a token of their own"),
        (name = "stream", description = "Events that are handled by every group, or say why not"),
        (name = "job", description = "Background jobs: enqueued and run in any language, each to its end"),
        (name = "audit", description = "Who has changed what"),
        (name = "health", description = "For load balancers and orchestrators"),
    ),
)]
pub(crate) struct Api;

/// What the limits around every route answer, where a route says nothing else of the status.
const OF_EVERY_ROUTE: [(&str, &str); 2] =
    [("503", "Too many requests at once: try again soon"), ("504", "The request took too long")];

/// Where a body is sent and a route says nothing else.
const OF_BODIES: (&str, &str) = ("413", "The body is too large: more than 64 KiB");

pub(crate) fn with_limits(mut document: Document) -> Document {
    for item in document.paths.paths.values_mut() {
        let operations =
            [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            let of_body = operation.request_body.is_some().then_some(OF_BODIES);
            let responses = &mut operation.responses.responses;
            for (status, description) in OF_EVERY_ROUTE.into_iter().chain(of_body) {
                responses.entry(status.to_owned()).or_insert_with(|| problem(description).into());
            }
        }
    }
    document
}

/// What is answered where nobody is let in.
const AT_THE_DOOR: [(&str, &str); 2] = [
    ("401", "There is no token, or none that this hub knows"),
    ("403", "The token has not this scope, or belongs to another tenant"),
];

/// Which scope a token needs, where the hub names any.
pub(crate) fn with_scopes(mut document: Document) -> Document {
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
        "A token of the hub's configuration. A hub that names no token and no user asks for none.",
    ));
    let key = ApiKeyValue::with_description(
        "X-API-Key",
        "The same token, as clients of OpenFeature send it.",
    );
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
    components.add_security_scheme("apiKey", SecurityScheme::ApiKey(ApiKey::Header(key)));
    for (path, item) in &mut document.paths.paths {
        let operations = [
            ("GET", &mut item.get),
            ("PUT", &mut item.put),
            ("POST", &mut item.post),
            ("PATCH", &mut item.patch),
            ("DELETE", &mut item.delete),
        ];
        for (method, operation) in operations {
            let needed = need(method, path, &Uri::from_static("/"));
            let (Some(operation), Some(Need::Token(scope, _))) = (operation, needed) else {
                continue;
            };
            let with = |scheme: &str| SecurityRequirement::new(scheme, [scope.to_string()]);
            let mut ways = vec![with("bearer")];
            if path.starts_with("/ofrep/") {
                ways.push(with("apiKey"));
            }
            operation.security = Some(ways);
            let responses = &mut operation.responses.responses;
            for (status, description) in AT_THE_DOOR {
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

#[cfg(test)]
mod tests {
    use serde_json::to_value;
    use utoipa_axum::router::OpenApiRouter;

    use super::*;
    use crate::json::BODY_LEN_MAX;
    use crate::{cache, limit};

    #[test]
    fn a_route_that_takes_a_body_says_how_long_it_may_be() {
        assert!(OF_BODIES.1.contains(&format!("{} KiB", BODY_LEN_MAX >> 10)));
        let (_, document) = OpenApiRouter::with_openapi(Api::openapi())
            .merge(cache::http::routes(1 << 20))
            .merge(limit::http::routes())
            .split_for_parts();
        let document = to_value(with_limits(document)).unwrap();
        let told = |path: &str, method: &str| {
            let operation = &document["paths"][path][method];
            assert!(operation["responses"]["504"].is_object(), "{method} {path}");
            operation["responses"]["413"]["description"].as_str().map(str::to_owned)
        };
        for (path, method) in [("/v1/limits/check", "post"), ("/v1/limits/{name}", "put")] {
            assert_eq!(told(path, method).as_deref(), Some(OF_BODIES.1), "{path}");
        }
        assert_eq!(told("/v1/limits", "get"), None);
        assert_eq!(told("/v1/cache/{cache}/warm", "post").as_deref(), Some("More than 32 MiB"));
    }
}
