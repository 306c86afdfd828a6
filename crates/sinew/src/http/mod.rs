//! What crosses capabilities in HTTP: whose request it is, and how an error is told.

mod problem;
mod tenant;

pub use problem::Problem;
pub use tenant::{RequestTenant, TENANT_HEADER};
