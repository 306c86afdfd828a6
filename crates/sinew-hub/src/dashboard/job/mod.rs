//! Background jobs: queues, one job, what is dead and why, and what recurs.

mod confirm;
mod dead;
mod enqueue;
mod extract;
mod indented;
mod limits;
mod list;
mod live;
mod one;
mod queue;
mod recurring;
mod shelf;
mod stats;
mod terms;
mod timeline;
mod workers;

use std::time::{Duration, SystemTime};

use axum::Router;
use axum::routing::{get, post};

use crate::dashboard::show::{NOT_KNOWN, time};
use crate::duration::shown;
use crate::hub::Hub;

/// No queue begins with `~`: what is no queue does.
pub(super) fn routes() -> Router<Hub> {
    Router::new()
        .route("/jobs", get(list::page))
        .route("/jobs/~queues", get(list::queues))
        .route("/jobs/~recurring", get(recurring::list))
        .route("/jobs/~recurring/~all", get(recurring::all))
        .route("/jobs/~recurring/{name}", get(recurring::page).put(terms::save))
        .route("/jobs/~recurring/{name}/now", get(recurring::now))
        .route("/jobs/~recurring/{name}/terms", get(terms::form))
        .route("/jobs/~recurring/{name}/preview", post(terms::preview))
        .route("/jobs/~recurring/{name}/change", post(terms::confirm))
        .route(
            "/jobs/~recurring/{name}/switch",
            get(recurring::confirm_switch).put(recurring::switch),
        )
        .route("/jobs/~recurring/{name}/fire", get(recurring::confirm_fire).put(recurring::fire))
        .route("/jobs/~recurring/{name}/drop", get(recurring::confirm_drop).delete(recurring::drop))
        .route("/jobs/{queue}", get(queue::page))
        .route("/jobs/{queue}/now", get(queue::now))
        .route("/jobs/{queue}/standing", get(queue::standing))
        .route("/jobs/{queue}/list", get(shelf::list))
        .route("/jobs/{queue}/history", get(stats::history))
        .route("/jobs/{queue}/kinds", get(stats::kinds))
        .route("/jobs/{queue}/workers", get(workers::workers))
        .route("/jobs/{queue}/switch", get(queue::confirm_switch).put(queue::switch))
        .route("/jobs/{queue}/limits", get(limits::form).put(limits::change))
        .route("/jobs/{queue}/limits/change", get(limits::confirm))
        .route("/jobs/{queue}/enqueue", post(enqueue::enqueue))
        .route("/jobs/{queue}/dead", get(dead::page))
        .route("/jobs/{queue}/dead/groups", get(dead::groups))
        .route("/jobs/{queue}/dead/list", get(dead::list))
        .route("/jobs/{queue}/dead/retry", get(dead::confirm_retry).put(dead::retry))
        .route("/jobs/{queue}/dead/drop", get(dead::confirm_drop).delete(dead::drop))
        .route("/jobs/{queue}/job/{id}", get(one::page))
        .route("/jobs/{queue}/job/{id}/now", get(one::now))
        .route("/jobs/{queue}/job/{id}/acts", get(one::acts))
        .route("/jobs/{queue}/job/{id}/payload", get(one::payload))
        .route("/jobs/{queue}/job/{id}/cancel", get(one::confirm_cancel).delete(one::cancel))
}

/// How long something took, to what people care for.
fn took(took: Duration) -> String {
    match took.as_millis() {
        ms @ ..1_000 => format!("{ms} ms"),
        ms @ ..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => shown(took),
    }
}

fn time_or_not(at: Option<SystemTime>) -> String {
    at.map_or_else(|| NOT_KNOWN.to_owned(), time)
}

/// So many of something, in words.
fn many(count: u64, one: &str, more: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {more}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_less_is_told_more_closely() {
        let of = |ms| took(Duration::from_millis(ms));
        assert_eq!((of(0).as_str(), of(999).as_str()), ("0 ms", "999 ms"));
        assert_eq!((of(1_250).as_str(), of(59_999).as_str()), ("1.2 s", "59.9 s"));
        assert_eq!(of(61_000), "1 min 1 s");
    }
}
