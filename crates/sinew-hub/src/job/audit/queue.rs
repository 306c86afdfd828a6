//! What the audit tells of a queue that is paused or resumed: the same, whichever way it has come.

use serde_json::json;

use super::Act;
use super::recurring::Entry;

impl Entry {
    /// Of a queue that was paused or not.
    pub(crate) fn switch_queue(act: Act, queue: &str, was_paused: bool) -> Self {
        let (before, after) =
            (json!({ "paused": was_paused }), json!({ "paused": act == Act::Pause }));
        Self { act, what: json!({ "queue": queue }), before, after }
    }
}
