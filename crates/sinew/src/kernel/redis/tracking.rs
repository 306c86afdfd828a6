//! A second connection to each primary, for reads whose answers are kept: its server tells of every
//! change of what was read on it (`CLIENT TRACKING`).

use std::sync::Arc;
use std::time::Duration;

use redis::{PushInfo, PushKind, Value};

use super::life;
use super::node::Shared;
use crate::kernel::breaker::Breaker;
use crate::kernel::coherence::{Coherence, Lane};
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::status::Status;

/// A connection that ended sooner is made again after a pause.
const STABLE_AFTER: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// A server that does not track is asked again after a while: another may have taken its place.
const PAUSE_REFUSED: Duration = Duration::from_secs(30);

/// Keeps the connection, from when someone first wants it.
pub(super) async fn keep(shared: Arc<Shared>) {
    let mut wanted = shared.common.tracking.subscribe();
    let coherence = match wanted.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(coherence)) => Arc::clone(coherence),
        _ => return,
    };
    // Its own: trouble on this connection is not the callers'.
    let breaker = Breaker::new("tracking");
    let mut was_refused = false;
    loop {
        // Once callers are served. The sender lives as long as this task.
        let _ = shared.status.subscribe().wait_for(|status| matches!(status, Status::Up)).await;
        let began = tokio::time::Instant::now();
        let end = follow(&shared, &coherence, &breaker).await;
        let pause = match &end {
            Err(error) if error.is_final() => {
                if !was_refused {
                    tracing::warn!(redis = shared.name(), %error, "no local copies are kept: the server does not tell of changes");
                }
                was_refused = true;
                PAUSE_REFUSED
            }
            _ => {
                was_refused = false;
                PAUSE_MAX.mul_f64(fastrand::f64())
            }
        };
        if began.elapsed() < STABLE_AFTER {
            tokio::time::sleep(pause).await;
        }
    }
}

/// Comes back when changes may have gone untold.
async fn follow(shared: &Shared, coherence: &Arc<Coherence>, breaker: &Breaker) -> Result<()> {
    let located = shared.locator.locate().await?;
    let (told, lane) = (Arc::clone(coherence), Arc::clone(&shared.lane));
    let hears = Arc::new(move |push: &PushInfo| hear(push, &told, &lane));
    let mut opened = shared.open_hearing(&located, hears).await?;
    let _: Value = opened.connection.call(redis::cmd("CLIENT").arg("TRACKING").arg("ON")).await?;
    if !shared.is_served_by(&opened.server.process) {
        // The callers' connection leads elsewhere: there, nothing would be told here.
        let kind = ErrorKind::Unavailable { maybe_applied: false };
        return Err(Error::new(kind, "another server than the callers'"));
    }
    let mut status = shared.status.subscribe();
    let _ending = Ending(shared);
    // The connection before its epoch: whoever has the epoch finds this connection, or a later one.
    shared.tracked.store(Some(Arc::new(opened.connection.clone())));
    shared.lane.confirmed();
    tokio::select! {
        () = opened.driver.ended() => {}
        _ = life::watch(&opened.connection, breaker, Duration::MAX) => {}
        () = shared.locator.moved_from(&located) => {}
        // The callers' connection ended: the next one may lead elsewhere.
        _ = status.wait_for(|status| !matches!(status, Status::Up)) => {}
    }
    Ok(())
}

/// However it ends, also by being dropped.
struct Ending<'a>(&'a Shared);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.lane.lost();
        self.0.tracked.store(None);
    }
}

/// Called by the connection's driver, before any reply that came later: it neither waits nor panics.
fn hear(push: &PushInfo, coherence: &Coherence, lane: &Lane) {
    if push.kind != PushKind::Invalidate {
        return;
    }
    for keys in &push.data {
        match keys {
            Value::Array(keys) => {
                for key in keys {
                    match key {
                        Value::BulkString(key) => coherence.touch(key),
                        Value::SimpleString(key) => coherence.touch(key.as_bytes()),
                        _ => lane.moved_on(),
                    }
                }
            }
            // The server forgot everything (FLUSHALL): so do we.
            _ => lane.moved_on(),
        }
    }
}
