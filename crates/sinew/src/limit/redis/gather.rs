//! Requests that come at the same time, in one call.

use bytes::Bytes;

use super::scripts;
use crate::kernel::error::Result;
use crate::kernel::key::Key;
use crate::kernel::redis::{Gathered, Gathering, Link, Waiting};
use crate::limit::algorithm::{Demand, Mode, Rule};
use crate::limit::backend::Reply;

/// How much one call decides on, and holds up everyone else's for.
const REQUESTS_MAX: usize = 16;
const LIMITS_MAX: usize = 32;

/// A request to decide on.
pub(super) struct Request {
    keys: Vec<Key>,
    packed: Vec<u8>,
}

/// Decides on a request, as if it were asked alone.
///
/// *Cancellation*: it may be charged.
pub(super) async fn charge(
    link: &Link,
    gathering: &Gathering<Request>,
    demands: &[(&Key, Demand)],
) -> Result<Reply> {
    if is_light(demands) && gathering.is_worth_it() {
        let reply = gathering.with_others(Request::of(demands)).await?;
        return scripts::reply_of(&reply, demands.len(), Mode::Charge);
    }
    gathering.alone(scripts::check_at(link, demands, Mode::Charge, None)).await
}

/// Whether it takes little time, and fails only as all others would: a log may be long, and needs commands
/// of its own.
fn is_light(demands: &[(&Key, Demand)]) -> bool {
    !demands.iter().any(|(_, demand)| matches!(demand.rule, Rule::SlidingLog(_)))
}

impl Request {
    fn of(demands: &[(&Key, Demand)]) -> Self {
        let keys = demands.iter().map(|(key, _)| Key::clone(key)).collect();
        let mut packed = Vec::new();
        demands.iter().for_each(|(_, demand)| scripts::pack(*demand, &mut packed));
        Self { keys, packed }
    }
}

impl Gathered for Request {
    type Reply = Bytes;

    fn parted(waiting: Vec<Waiting<Self>>) -> Vec<Vec<Waiting<Self>>> {
        let (mut calls, mut call, mut limits) = (Vec::new(), Vec::new(), 0);
        for request in waiting {
            limits += request.asked.keys.len();
            if call.len() == REQUESTS_MAX || limits > LIMITS_MAX {
                limits = request.asked.keys.len();
                calls.push(std::mem::take(&mut call));
            }
            call.push(request);
        }
        calls.push(call);
        calls.retain(|call| !call.is_empty());
        calls
    }

    async fn send(link: &Link, call: Vec<Waiting<Self>>) {
        match ask(link, &call).await {
            Ok(mut replies) => {
                for request in call {
                    let len = scripts::reply_len(request.asked.keys.len()).min(replies.len());
                    // Where it is too short, it is told so when it is read.
                    request.tell(Ok(replies.split_to(len)));
                }
            }
            Err(error) => {
                for request in call {
                    request.tell(Err(error.clone()));
                }
            }
        }
    }
}

async fn ask(link: &Link, call: &[Waiting<Request>]) -> Result<Bytes> {
    let requests = || call.iter().map(|request| &request.asked);
    let keys: Vec<&str> = requests().flat_map(|request| &request.keys).map(Key::as_str).collect();
    let packed = requests().flat_map(|request| &request.packed).copied().collect();
    let size = |request: &Request| u8::try_from(request.keys.len()).unwrap_or(u8::MAX);
    let sizes: Vec<u8> = requests().map(size).collect();
    scripts::check(link, &keys, packed, &sizes, Mode::Charge, None).await
}
