//! What is cached: a small record, as services have it.

use std::sync::Arc;

use hitbox_fn::CacheableResponse;
use serde::{Deserialize, Serialize};

use super::KEYS;

#[derive(Clone, Serialize, Deserialize, CacheableResponse)]
pub struct User {
    pub id: u64,
    name: String,
    email: String,
    roles: Vec<String>,
    active: bool,
}

pub fn user(id: u64) -> User {
    User {
        id,
        name: format!("User Number {id}"),
        email: format!("user{id}@example.com"),
        roles: vec!["reader".into(), "writer".into()],
        active: true,
    }
}

pub fn users() -> impl Iterator<Item = Arc<User>> {
    (0..KEYS).map(|id| Arc::new(user(id)))
}
