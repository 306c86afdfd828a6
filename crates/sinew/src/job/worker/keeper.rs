//! The keeper of a lane: says that it lives, apart from all that it does, and tells its handlers where that is not heard.

use std::sync::Arc;
use std::time::Duration;

use super::super::backend::Backend as _;
use super::super::context::Stop;
use super::super::model::{Held, Renewed, tick_every};
use super::Team;
use super::hold::Hold;
use super::part::Part;
use crate::kernel::again::Again;

/// How long the store is asked before handlers are told that the lease is over: after a stop of the machine, it may have it
/// that the lane goes on.
const LATE: Duration = Duration::from_millis(100);

/// Keeps a lane until it is aborted.
pub(super) async fn keep(team: Arc<Team>, part: Arc<Part>, hold: Arc<Hold>) {
    tokio::join!(renew(&team, &part, &hold), watch(&team, &part, &hold));
}

async fn renew(team: &Team, part: &Part, hold: &Hold) {
    let (_, queue) = &team.settings.queues[part.queue];
    let (clock, every) = (team.clock(), tick_every(queue.lease));
    let mut again = Again::new();
    loop {
        let Some(name) = hold.name() else {
            hold.leased.notified().await;
            continue;
        };
        let sent = clock.now();
        match team.engine().backend.renew(&part.keys, &name, queue.lease_ms(), &[]).await {
            Ok(Held::Kept(renewed)) => {
                again.well();
                hold.renewed(&name, sent.after(queue.lease));
                heard(part, hold, &renewed);
            }
            Ok(Held::Fallen) => hold.fell(&name),
            Err(error) => {
                let queue = part.keys.queue().as_str();
                tracing::debug!(queue, %error, "a lease is renewed again");
                again.pause().await;
                continue;
            }
        }
        clock.sleep_until(clock.now().after(every)).await;
    }
}

fn heard(part: &Part, hold: &Hold, renewed: &Renewed) {
    part.heard_of_delayed(renewed.now_ms, renewed.next_due_ms);
    hold.tell(&renewed.stop, Stop::Cancelled);
    if renewed.is_owing {
        part.owing.notify_one();
    }
}

/// Tells all handlers once the lease is over by this machine's clock: another may have their jobs by then.
async fn watch(team: &Team, part: &Part, hold: &Hold) {
    loop {
        let Some(until) = hold.until() else {
            hold.relet.notified().await;
            continue;
        };
        team.clock().sleep_until(until).await;
        tokio::time::sleep(LATE).await;
        if hold.until() != Some(until) {
            continue;
        }
        let told = hold.tell_all(Stop::Lost);
        if told > 0 {
            let queue = part.keys.queue().as_str();
            tracing::warn!(
                queue,
                told,
                "a lease is over by this machine's clock: handlers are told to stop"
            );
        }
        hold.relet.notified().await;
    }
}
