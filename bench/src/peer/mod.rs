//! Who else does the job, each as its own documentation says to.

mod bare;
pub mod flags;
pub mod flexible;
pub mod hitbox;
pub mod jobs;
pub mod limits;
pub mod locks;
pub mod maps;
mod node;
pub mod sessions;
pub mod streams;

pub use bare::{caching_connection, client, raw_connection, tracking_connection};
