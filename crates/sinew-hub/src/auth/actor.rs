//! Who sent a request.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use sinew::Tenant;
use sinew::http::Problem;

/// Who sent a request, once they have been let in. Cheap to clone.
///
/// What they may do was decided before: this is for what is kept of it.
#[derive(Clone, Debug)]
pub(crate) struct Actor {
    name: Option<Arc<str>>,
    tenant: Option<Tenant>,
}

impl Actor {
    /// Whoever it is, where nobody has to say.
    pub(crate) fn anyone() -> Self {
        Self { name: None, tenant: None }
    }

    /// A hub, by itself.
    pub(crate) fn hub() -> Self {
        Self { name: Some("hub".into()), tenant: None }
    }

    pub(super) fn named(name: &str, tenant: Option<&Tenant>) -> Self {
        Self { name: Some(name.into()), tenant: tenant.cloned() }
    }

    /// Of the token, or of the user; none where nobody has to say.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// For audits and logs: who made a change, or by which way it came where nobody says who they are.
    pub(crate) fn by<'a>(&'a self, way: &'a str) -> &'a str {
        self.name.as_deref().unwrap_or(way)
    }

    /// The only tenant that they may name.
    pub(crate) fn tenant(&self) -> Option<&Tenant> {
        self.tenant.as_ref()
    }
}

impl<S: Sync> FromRequestParts<S> for Actor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            tracing::error!("a route takes an actor that no one has let in");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
        })
    }
}
