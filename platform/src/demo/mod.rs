//! What makes a demonstration of the platform: data to look at, and someone who looks at it.

mod seed;
mod traffic;

pub use seed::{Seeded, seed};
pub use traffic::{Traffic, TrafficError};

/// The tenants that a demonstration has.
pub const TENANTS: [&str; 2] = ["tenant123", "acme"];
