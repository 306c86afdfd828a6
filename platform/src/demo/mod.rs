//! What makes a demonstration of the platform: data to look at, and someone who looks at it.

mod gateway;
mod seed;
mod traffic;

pub use gateway::gateway;
pub use seed::{Seeded, seed};
pub use traffic::{Traffic, TrafficError};

/// The tenants that a demonstration has.
pub const TENANTS: [&str; 2] = ["tenant123", "acme"];

/// The users that each of them has.
pub const USERS: [&str; 3] = ["ada", "grace", "alan"];

/// The password of all of them.
pub const PASSWORD: &str = "correct horse";

/// The email of such a user.
#[must_use]
pub fn email_of(user: &str) -> String {
    format!("{user}@example.com")
}
