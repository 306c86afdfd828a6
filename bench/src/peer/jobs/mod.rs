//! Who else does background jobs. All do the same ones, at least once, but rusty-sidekiq, which knows no ack.

pub mod apalis;
pub mod node;
pub mod official;
pub mod oxana;
pub mod sidekiq;

use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sinew::job::Job;

/// What jobs and their queue are called, unless a measure has queues of its own.
pub const NAME: &str = "noop";
/// As it takes to make 150 bytes of JSON of it.
const TEXT_LEN: usize = 139;

/// What there is to do: nothing, with this.
#[derive(Job, Serialize, Deserialize)]
#[job(name = "noop", queue = "noop")]
pub struct Payload {
    pub text: String,
}

impl Payload {
    pub fn new(number: u64) -> Self {
        Self { text: format!("{number:0>TEXT_LEN$}") }
    }

    /// So many, one after the other.
    pub fn many(first: u64, count: u64) -> Vec<Self> {
        (first..first + count).map(Self::new).collect()
    }
}

/// What a text was made of.
pub fn number(text: &str) -> u64 {
    let digits = text.trim_start_matches('0');
    if digits.is_empty() { 0 } else { digits.parse().expect("a number") }
}

/// What does a job: it is given its text.
pub type Handle = Arc<dyn Fn(&str) + Send + Sync>;

/// Something that goes on, of a kind that only the peer knows.
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Whoever keeps jobs, and has them done. They share a queue.
pub trait Carrier: Send + Sync {
    /// Enqueues these, in as few calls as it can, and waits until they are there.
    fn enqueue_many(&self, jobs: Vec<Payload>) -> Doing<'_, ()>;

    /// Enqueues one, and waits until it is there.
    fn enqueue(&self, job: Payload) -> Doing<'_, ()>;

    /// Has jobs done from now on, so many at a time.
    fn work(&self, handle: Handle, concurrency: usize) -> Doing<'_, Box<dyn Working>>;
}

/// Does jobs until it is stopped.
pub trait Working: Send {
    fn stop(self: Box<Self>) -> Doing<'static, ()>;
}
