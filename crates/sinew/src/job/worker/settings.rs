//! What a worker is to do: its queues, and its handlers.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tower_service::Service;

use super::super::Jobs;
use super::super::error::JobError;
use super::super::layer::{JobCall, JobDone, JobService};
use super::super::model::{
    CONCURRENCY_DEFAULT, CONCURRENCY_MAX, Declaring, LEASE_DEFAULT, Policy, check_lease, in_words,
    millis,
};
use super::super::options::JobOptions;
use crate::kernel::error::{Error, Result};
use crate::kernel::name::{KindName, QueueName};

const WEIGHT_MAX: u32 = 1_000;
const RATE_PER_MAX: Duration = Duration::from_secs(86_400);

/// A queue, as a worker takes from it.
#[derive(Clone, Debug)]
#[must_use = "it is given to a worker"]
pub struct Queue {
    pub(super) name: String,
    pub(super) concurrency: usize,
    pub(super) weight: u32,
    pub(super) lease: Duration,
    global: Option<u64>,
    per_key: Option<u64>,
    rate: Option<(u64, Duration)>,
}

impl Queue {
    /// A queue of this name: 1 to 64 of `[A-Za-z0-9._-]`. It need not be there yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            concurrency: CONCURRENCY_DEFAULT,
            weight: 1,
            lease: LEASE_DEFAULT,
            global: None,
            per_key: None,
            rate: None,
        }
    }

    /// How many jobs of it the worker runs at a time: 1 to 1,024, 16 unless said.
    pub fn concurrency(mut self, jobs: usize) -> Self {
        self.concurrency = jobs;
        self
    }

    /// How many run at a time, everywhere; 0 is no limit. It counts for all workers, as said last, also without this one;
    /// what is not said stays as it is. With partitions, each has its part, so it is as many as those at least: else the
    /// worker ends with `Rejected`.
    pub fn global(mut self, jobs: u64) -> Self {
        self.global = Some(jobs);
        self
    }

    /// How many of one key run at a time, everywhere; else as [`Queue::global`].
    pub fn per_key(mut self, jobs: u64) -> Self {
        self.per_key = Some(jobs);
        self
    }

    /// How many begin in any window of this length, up to a day, everywhere; else as [`Queue::global`].
    pub fn rate(mut self, jobs: u64, per: Duration) -> Self {
        self.rate = Some((jobs, per));
        self
    }

    /// How much of [`Worker::concurrency`](super::Worker::concurrency) it has beside the others that have work: 1 to 1,000, 1 unless
    /// said.
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// How long after it was last heard of a worker is taken for dead: 1 s to 1 h, 30 s unless said. It says that it lives
    /// once a second at least, so a job may take much longer. A store that was away for more than eight seconds has nobody
    /// suffer for it: with a lease of under ten, jobs are taken from the living by a shorter stop as well.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    pub(super) fn lease_ms(&self) -> u64 {
        millis(self.lease)
    }

    /// What is to be declared before it is taken from, if anything.
    pub(super) fn declaring(&self) -> Option<Declaring> {
        let Self { global, per_key, rate, .. } = self;
        let rate = rate.map(|(jobs, per)| (jobs, millis(per)));
        let says_any = global.is_some() || per_key.is_some() || rate.is_some();
        says_any.then_some(Declaring {
            global: *global,
            per_key: *per_key,
            rate,
            ..Declaring::default()
        })
    }

    fn check(&self) -> Result<QueueName> {
        check_concurrency(self.concurrency)?;
        check_lease(self.lease)?;
        if !(1..=WEIGHT_MAX).contains(&self.weight) {
            return Err(Error::rejected(format!(
                "a weight of {} is out of bounds: expected 1 to {WEIGHT_MAX}",
                self.weight
            )));
        }
        if let Some((jobs, per)) = self.rate
            && jobs > 0
            && !(Duration::from_millis(20)..=RATE_PER_MAX).contains(&per)
        {
            return Err(Error::rejected(format!(
                "a rate over {} is out of bounds: expected 20 ms to 24 h",
                in_words(per)
            )));
        }
        QueueName::new(&self.name)
    }
}

/// What a handler comes to.
pub(super) type Called = Result<JobDone, JobError>;
/// A handler with its state, whatever its job is.
pub(super) type Call<S> = Arc<dyn Fn(JobCall, Arc<S>) -> BoxFuture<'static, Called> + Send + Sync>;

/// A kind of job, and the handler that was registered for it.
pub(super) struct Registered<S> {
    pub(super) kind: KindName,
    pub(super) options: JobOptions,
    pub(super) call: Call<S>,
}

/// A kind of job, as it is run.
pub(super) struct Kind {
    pub(super) name: Arc<str>,
    pub(super) policy: Policy,
    pub(super) timeout: Duration,
}

/// What a worker is to do, checked.
pub(super) struct Settings {
    pub(super) jobs: Jobs,
    /// What people know it by.
    pub(super) label: Arc<str>,
    pub(super) queues: Vec<(QueueName, Queue)>,
    /// How many run at a time, of all queues.
    pub(super) concurrency: Option<usize>,
    pub(super) kinds: Vec<Kind>,
    by_name: HashMap<Arc<str>, usize>,
    pub(super) service: Handling,
    pub(super) allows_eviction: bool,
    pub(super) drain: Duration,
}

impl Settings {
    pub(super) fn new(
        jobs: Jobs,
        label: String,
        queues: Vec<Queue>,
        registered: Vec<Registered<()>>,
        layers: Vec<super::Layering>,
    ) -> Result<Self> {
        let checked = |queue: Queue| -> Result<(QueueName, Queue)> { Ok((queue.check()?, queue)) };
        let queues = queues.into_iter().map(checked);
        let queues = queues.collect::<Result<Vec<_>>>()?;
        for (at, (name, _)) in queues.iter().enumerate() {
            if queues[..at].iter().any(|(other, _)| other == name) {
                return Err(Error::rejected(format!(
                    "the queue {:?} is given twice",
                    name.as_str()
                )));
            }
        }
        if queues.is_empty() {
            return Err(Error::rejected("a worker without a queue: expected one at least"));
        }
        let (mut kinds, mut calls) = (Vec::new(), Vec::new());
        for Registered { kind, options, call } in registered {
            let JobOptions { attempts, backoff, timeout, .. } = options;
            let policy = Policy { attempts, backoff };
            kinds.push(Kind { name: kind.as_str().into(), policy, timeout });
            calls.push(call);
        }
        let by_name = kinds.iter().enumerate().map(|(at, kind)| (Arc::clone(&kind.name), at));
        let by_name = by_name.collect();
        let service = Handling::new(Handlers { calls: calls.into(), state: Arc::new(()) }, layers);
        Ok(Self {
            jobs,
            label: label.into(),
            queues,
            concurrency: None,
            kinds,
            by_name,
            service,
            allows_eviction: false,
            drain: super::DRAIN_DEFAULT,
        })
    }

    /// Which of the kinds that is, if there is a handler for it.
    pub(super) fn kind_index(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }
}

pub(super) fn check_concurrency(concurrency: usize) -> Result<()> {
    match (1..=CONCURRENCY_MAX).contains(&concurrency) {
        true => Ok(()),
        false => Err(Error::rejected(format!(
            "a concurrency of {concurrency} is out of bounds: expected 1 to {CONCURRENCY_MAX}"
        ))),
    }
}

/// The way to the handlers.
pub(super) enum Handling {
    /// With nothing in it, which is faster than a service that has no layer.
    Bare(Handlers),
    Layered(JobService),
}

impl Handling {
    fn new(handlers: Handlers, layers: Vec<super::Layering>) -> Self {
        if layers.is_empty() {
            return Self::Bare(handlers);
        }
        let service = JobService::new(handlers);
        Self::Layered(layers.into_iter().fold(service, |inner, layer| layer(inner)))
    }

    pub(super) fn run(&self, call: JobCall) -> BoxFuture<'static, Called> {
        match self {
            Self::Bare(handlers) => handlers.run(call),
            Self::Layered(service) => Box::pin(service.clone().once(call)),
        }
    }
}

/// All handlers, each at the index of its kind.
#[derive(Clone)]
pub(super) struct Handlers {
    calls: Arc<[Call<()>]>,
    /// Each has been given its own when it was registered.
    state: Arc<()>,
}

impl Handlers {
    fn run(&self, call: JobCall) -> BoxFuture<'static, Called> {
        match self.calls.get(call.ctx.kind_index()) {
            Some(handler) => handler(call, Arc::clone(&self.state)),
            // Its run has looked before: there is one.
            None => {
                let reason = "no handler for its kind".to_owned();
                let dead: Called = Err(JobError::Dead { reason });
                Box::pin(std::future::ready(dead))
            }
        }
    }
}

impl Service<JobCall> for Handlers {
    type Response = JobDone;
    type Error = JobError;
    type Future = BoxFuture<'static, Called>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), JobError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: JobCall) -> Self::Future {
        self.run(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_bounds_is_told() {
        assert!(Queue::new("mail").check().is_ok());
        let second = Duration::from_secs(1);
        for bad in [
            Queue::new("a b"),
            Queue::new("mail").concurrency(0),
            Queue::new("mail").concurrency(1_025),
            Queue::new("mail").weight(0),
            Queue::new("mail").lease(second / 2),
            Queue::new("mail").rate(5, 100_000 * second),
        ] {
            let error = bad.check().unwrap_err().to_string();
            assert!(error.contains("expected"), "{error}");
        }
    }

    #[test]
    fn only_what_is_said_is_declared() {
        assert_eq!(Queue::new("mail").declaring(), None);
        let said = Queue::new("mail").rate(100, Duration::from_secs(1)).declaring();
        let expected = Declaring { rate: Some((100, 1_000)), ..Declaring::default() };
        assert_eq!(said, Some(expected));
    }
}
