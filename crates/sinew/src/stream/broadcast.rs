//! Telling everyone who is there now: plain publish and subscribe, which keeps nothing.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast;

use super::Streams;
use crate::kernel::error::{Error, Result};
#[cfg(feature = "redis")]
use crate::kernel::redis::{self, Link};

/// How many messages wait for a slow listener in this process.
const QUEUE_LEN_MAX: usize = 256;
const CHANNEL_LEN_MAX: usize = 128;

/// Where messages go.
pub(super) enum Channels {
    /// By channel. Those that no one hears are removed whenever another is added.
    Memory(Mutex<HashMap<String, broadcast::Sender<Bytes>>>),
    #[cfg(feature = "redis")]
    Redis(Link),
}

/// What a listener hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard<T> {
    /// What was told before may have been missed: at the beginning, and whenever the connection was lost, or led to another
    /// node of a cluster.
    Gap,
    /// What someone has told.
    Message(T),
}

/// What is told on a channel; see [`Streams::hear`]. It ends when dropped.
pub struct Hearing<T> {
    channel: Result<Ears>,
    has_begun: bool,
    hears: PhantomData<fn() -> T>,
}

enum Ears {
    Memory(broadcast::Receiver<Bytes>),
    #[cfg(feature = "redis")]
    Redis(redis::Subscription),
}

impl Channels {
    pub(super) fn embedded() -> Self {
        Self::Memory(Mutex::default())
    }

    #[cfg(feature = "redis")]
    pub(super) fn on_redis(link: Link) -> Self {
        Self::Redis(link)
    }

    #[cfg_attr(not(feature = "redis"), allow(clippy::unused_async))]
    async fn tell(&self, channel: &str, message: Bytes) -> Result<u64> {
        match self {
            Self::Memory(channels) => {
                let told = channels.lock().get(channel).map(|told| told.send(message));
                // Where there is no one, that is no failure.
                Ok(told.and_then(std::result::Result::ok).map_or(0, |heard| heard as u64))
            }
            #[cfg(feature = "redis")]
            Self::Redis(link) => super::redis::broadcast::tell(link, channel, &message).await,
        }
    }

    fn hear(&self, channel: &str) -> Ears {
        match self {
            Self::Memory(channels) => {
                let mut channels = channels.lock();
                if let Some(told) = channels.get(channel) {
                    return Ears::Memory(told.subscribe());
                }
                channels.retain(|_, told| told.receiver_count() > 0);
                let (told, heard) = broadcast::channel(QUEUE_LEN_MAX);
                channels.insert(channel.to_owned(), told);
                Ears::Memory(heard)
            }
            #[cfg(feature = "redis")]
            Self::Redis(link) => Ears::Redis(link.subscribe(channel, redis::At::ItsNode)),
        }
    }
}

impl Streams {
    /// Tells whoever listens now, and says how many that were, as far as one server knows. Nothing is kept: for what must
    /// arrive, publish an event.
    ///
    /// *Cancellation*: it is told or not.
    ///
    /// # Errors
    /// `Rejected` for a bad channel or what cannot be written as JSON; `Unavailable` or `Timeout` when Redis is down.
    pub async fn broadcast<T: Serialize + ?Sized>(
        &self,
        channel: &str,
        message: &T,
    ) -> Result<u64> {
        check_channel(channel)?;
        let message = serde_json::to_vec(message)
            .map_err(|error| Error::rejected("a message that is not JSON").with_source(error))?;
        if message.len() > self.engine.value_len_max {
            return Err(Error::rejected(format!(
                "a message of {} bytes: expected at most {}",
                message.len(),
                self.engine.value_len_max
            )));
        }
        let channel = self.scope.stream_channel(channel);
        self.engine.channels.tell(&channel, message.into()).await
    }

    /// Listens to a channel from now on.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    #[must_use]
    pub fn hear<T: DeserializeOwned>(&self, channel: &str) -> Hearing<T> {
        let ears = check_channel(channel)
            .map(|()| self.engine.channels.hear(&self.scope.stream_channel(channel)));
        Hearing { channel: ears, has_begun: false, hears: PhantomData }
    }
}

impl<T: DeserializeOwned> Hearing<T> {
    /// The next message. What is no `T` is passed over. Nothing where the channel can have no such name, or once the
    /// client is gone. While Redis is down it waits. Cancel-safe.
    pub async fn next(&mut self) -> Option<Heard<T>> {
        let ears = match &mut self.channel {
            Ok(ears) => ears,
            Err(error) => {
                tracing::warn!(%error, "no one can be heard on this channel");
                return None;
            }
        };
        loop {
            let heard = match ears {
                Ears::Memory(_) if !std::mem::replace(&mut self.has_begun, true) => Heard::Gap,
                Ears::Memory(heard) => match heard.recv().await {
                    Ok(message) => Heard::Message(message),
                    Err(broadcast::error::RecvError::Lagged(_)) => Heard::Gap,
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
                #[cfg(feature = "redis")]
                Ears::Redis(heard) => match heard.next().await? {
                    redis::Heard::Subscribed => Heard::Gap,
                    redis::Heard::Message(message) => Heard::Message(message),
                },
            };
            match heard {
                Heard::Gap => return Some(Heard::Gap),
                Heard::Message(message) => match serde_json::from_slice(&message) {
                    Ok(message) => return Some(Heard::Message(message)),
                    Err(_) => tracing::debug!("a message of another type is passed over"),
                },
            }
        }
    }
}

impl<T> fmt::Debug for Hearing<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hearing").finish_non_exhaustive()
    }
}

fn check_channel(channel: &str) -> Result<()> {
    let is_valid = (1..=CHANNEL_LEN_MAX).contains(&channel.len())
        && channel.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    match is_valid {
        true => Ok(()),
        false => Err(Error::rejected(format!(
            "a channel with a name of {} bytes: expected 1 to {CHANNEL_LEN_MAX} of A-Z a-z 0-9 . _ -",
            channel.len()
        ))),
    }
}
