//! Looking for what nobody would come to.

use std::sync::Arc;
use std::time::Duration;

use super::super::backend::Backend as _;
use super::super::model::{Audited, millis};
use super::Team;
use super::part::Part;

/// How often, give or take a fifth: processes that began together are not to look together.
const EVERY: Duration = Duration::from_secs(60);
/// An audit looks at all that runs: one of all processes makes it.
const UNLESS_WITHIN: Duration = Duration::from_secs(45);

/// Audits a partition until it is aborted.
pub(super) async fn tend(team: Arc<Team>, part: Arc<Part>) {
    let clock = team.clock();
    loop {
        let every = EVERY.mul_f64(0.8 + fastrand::f64() * 0.4);
        clock.sleep_until(clock.now().after(every)).await;
        let (engine, scope) = (team.engine(), &team.settings.jobs.scope);
        let queue = part.keys.queue();
        if part.keys.partition() == 0
            && let Err(error) = engine.note(scope, queue).await
        {
            tracing::debug!(queue = queue.as_str(), %error, "a queue is noted later");
        }
        match engine.backend.audit(&part.keys, millis(UNLESS_WITHIN)).await {
            Ok(audited) if audited != Audited::default() => {
                let Audited { stranded, miscounted, forgotten_keys } = audited;
                tracing::warn!(
                    queue = queue.as_str(),
                    partition = part.keys.partition(),
                    stranded,
                    miscounted,
                    forgotten_keys,
                    "an audit has put something right"
                );
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(queue = queue.as_str(), %error, "audited later"),
        }
    }
}
