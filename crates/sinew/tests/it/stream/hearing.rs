//! Subscribers that tell what they are given.

use std::time::{Duration, Instant};

use sinew::stream::{Ack, Ctx, Event, Finished, HandlerError, Subscribe, Subscription};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use crate::laws::LAW_MAX;

/// A run of a handler.
#[derive(Clone)]
pub struct Heard {
    pub number: u64,
    pub key: Option<String>,
    pub at: Instant,
    pub cx: Ctx,
}

pub struct Tell(UnboundedSender<Heard>);

pub struct Ear(UnboundedReceiver<Heard>);

pub fn channel() -> (Tell, Ear) {
    let (tell, heard) = unbounded_channel();
    (Tell(tell), Ear(heard))
}

/// One of several who tell the same ear: of each run as it begins. Then it does what `handle` does.
pub fn start<F, Fut>(subscribe: Subscribe<u64>, tell: &Tell, handle: F) -> Subscription
where
    F: Fn(Heard) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Ack, HandlerError>> + Send + 'static,
{
    let tell = tell.0.clone();
    let handler = move |event: Event<u64>, cx: Ctx| {
        let key = event.key().map(str::to_owned);
        let heard = Heard { number: event.data, key, at: Instant::now(), cx };
        // The law may have heard enough.
        let _ = tell.send(heard.clone());
        handle(heard)
    };
    subscribe.start(handler).expect("settings that can be")
}

impl Ear {
    pub async fn next(&mut self) -> Heard {
        let next = tokio::time::timeout(LAW_MAX / 2, self.0.recv()).await;
        next.expect("never heard").expect("a subscriber")
    }

    /// The next ones, sorted.
    pub async fn numbers(&mut self, count: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            let next = tokio::time::timeout(LAW_MAX / 2, self.0.recv()).await;
            match next {
                Ok(heard) => numbers.push(heard.expect("a subscriber").number),
                Err(_) => panic!("only {numbers:?}, and not {count}"),
            }
        }
        numbers.sort_unstable();
        numbers
    }

    /// Whether there is nothing more by now.
    pub fn is_silent(&mut self) -> bool {
        self.0.try_recv().is_err()
    }
}

/// One subscriber, and what it tells.
pub struct Hearing {
    subscription: Option<Subscription>,
    ear: Ear,
}

impl Hearing {
    /// Whose handler decides at once.
    pub fn start<F>(subscribe: Subscribe<u64>, decide: F) -> Self
    where
        F: Fn(&Heard) -> Result<Ack, HandlerError> + Send + Sync + 'static,
    {
        Self::start_with(subscribe, move |heard| std::future::ready(decide(&heard)))
    }

    /// Whose handler is done once the gate is open, but for what is decided at once.
    pub fn start_behind<F>(
        subscribe: Subscribe<u64>,
        gate: watch::Receiver<bool>,
        at_once: F,
    ) -> Self
    where
        F: Fn(&Heard) -> Option<Ack> + Send + Sync + 'static,
    {
        Self::start_with(subscribe, move |heard| {
            let (decided, mut gate) = (at_once(&heard), gate.clone());
            async move {
                if let Some(ack) = decided {
                    return Ok(ack);
                }
                gate.wait_for(|is_open| *is_open).await.expect("the law opens it");
                Ok(Ack::Done)
            }
        })
    }

    pub fn start_with<F, Fut>(subscribe: Subscribe<u64>, handle: F) -> Self
    where
        F: Fn(Heard) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Ack, HandlerError>> + Send + 'static,
    {
        let (tell, ear) = channel();
        Self { subscription: Some(start(subscribe, &tell, handle)), ear }
    }

    pub async fn next(&mut self) -> Heard {
        self.ear.next().await
    }

    pub async fn numbers(&mut self, count: usize) -> Vec<u64> {
        self.ear.numbers(count).await
    }

    /// Whether nothing more comes for a while.
    pub async fn is_silent_for(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.ear.0.recv()).await.is_err()
    }

    pub async fn stop(&mut self) -> Finished {
        self.subscription.take().expect("it was not stopped before").stop().await.expect("it ran")
    }
}

#[allow(clippy::unnecessary_wraps)]
pub fn all_done(_: &Heard) -> Result<Ack, HandlerError> {
    Ok(Ack::Done)
}
