//! Flags of others, evaluated in this process.

use std::sync::Arc;

use serde_json::json;
use unleash_yggdrasil::{Context, EngineState};

/// The engine of Unleash's clients, which counts each evaluation for the server. Cheap to clone.
#[derive(Clone)]
pub struct Unleash {
    engine: Arc<EngineState>,
    contexts: Arc<[Context]>,
}

impl Unleash {
    /// With this flag, on for half of those on whom the conditions hold, `others` like it, and so many
    /// users on whom they do.
    pub fn new(key: &str, others: usize, users: usize) -> Self {
        let conditions = json!([
            { "contextName": "plan", "operator": "IN", "values": ["pro", "team"] },
            { "contextName": "country", "operator": "IN", "values": ["NO"] },
            { "contextName": "seats", "operator": "NUM_GTE", "value": "10" },
        ]);
        let keys = (0..others).map(|number| format!("other-{number}")).chain([key.to_owned()]);
        let flag = |key: String| {
            let share = json!({ "rollout": "50", "stickiness": "userId", "groupId": key });
            let rule = json!({ "name": "flexibleRollout", "constraints": conditions, "parameters": share });
            json!({ "name": key, "type": "release", "enabled": true, "strategies": [rule] })
        };
        let flags: Vec<_> = keys.map(flag).collect();
        let document = serde_json::from_value(json!({ "version": 2, "features": flags }));
        let mut engine = EngineState::default();
        engine.take_state(document.expect("flags"));
        let context = |number: usize| {
            let known = json!({ "plan": "pro", "country": "NO", "seats": "12" });
            let user = json!({ "userId": format!("user-{number}"), "properties": known });
            serde_json::from_value(user).expect("a context")
        };
        Self { engine: Arc::new(engine), contexts: (0..users).map(context).collect() }
    }

    pub fn is_on(&self, key: &str, user: usize) -> bool {
        self.engine.is_enabled(key, &self.contexts[user], &None)
    }
}
