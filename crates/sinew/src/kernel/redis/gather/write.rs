//! What is written to a partition at the same time, in one call.

use std::future::Future;

use super::{Gathered, Gathering, Link, Waiting};
use crate::kernel::error::Result;

/// How many one call writes, and how long each of them may be, in bytes.
const COUNT_MAX: usize = 64;
const SIZE_MAX: usize = 16 << 10;

/// What can be written together with others of its kind.
pub(crate) trait Batched: Sized + Send + Sync + 'static {
    /// Of a partition.
    type Keys: Clone + PartialEq + Send + Sync + 'static;
    type Written: Clone + Send + 'static;

    /// How long it is, in bytes.
    fn size(&self) -> usize;

    /// Whether it can be written together with these, which go together.
    fn goes_with<'a>(&self, call: impl Iterator<Item = &'a Self>) -> bool;

    fn write(
        link: &Link,
        keys: &Self::Keys,
        partitions: u16,
        batch: &[Self],
    ) -> impl Future<Output = Result<Self::Written>> + Send;

    /// What each of a batch is told.
    fn of_each(written: Self::Written) -> OfEach<Self::Written>;
}

/// What came of a batch.
pub(crate) enum OfEach<W> {
    /// Of each for itself, in their order.
    Own(Vec<W>),
    /// None was written: there may be room for some.
    NoRoom(W),
    /// Of all the same.
    Same(W),
}

/// One to write, and where.
pub(crate) struct Single<T: Batched> {
    keys: T::Keys,
    partitions: u16,
    one: T,
}

impl<T: Batched> Gathering<Single<T>> {
    /// Writes to a partition, as if nobody else did.
    ///
    /// *Cancellation*: it may be written.
    pub(crate) async fn write(
        &self,
        keys: &T::Keys,
        partitions: u16,
        mut batch: Vec<T>,
    ) -> Result<T::Written> {
        if self.is_worth_it()
            && let Some(one) = batch.pop_if(|one| one.size() <= SIZE_MAX)
        {
            if batch.is_empty() {
                let keys = keys.clone();
                return self.with_others(Single { keys, partitions, one }).await;
            }
            batch.push(one);
        }
        self.alone(T::write(&self.0.link, keys, partitions, &batch)).await
    }
}

impl<T: Batched> Single<T> {
    fn goes_with(&self, call: &[Waiting<Self>]) -> bool {
        let is_of = |one: &Self| self.keys == one.keys && self.partitions == one.partitions;
        call.first().is_some_and(|first| is_of(&first.asked))
            && self.one.goes_with(call.iter().map(|waiting| &waiting.asked.one))
    }
}

impl<T: Batched> Gathered for Single<T> {
    type Reply = T::Written;

    fn parted(waiting: Vec<Waiting<Self>>) -> Vec<Vec<Waiting<Self>>> {
        let mut calls: Vec<Vec<Waiting<Self>>> = Vec::new();
        for one in waiting {
            let open = calls.iter().rposition(|call| one.asked.goes_with(call));
            match open {
                Some(at) if calls[at].len() < COUNT_MAX => calls[at].push(one),
                _ => calls.push(vec![one]),
            }
        }
        calls
    }

    async fn send(link: &Link, call: Vec<Waiting<Self>>) {
        let Some(Waiting { asked: first, .. }) = call.first() else { return };
        let (keys, partitions) = (first.keys.clone(), first.partitions);
        let (asked, tells): (Vec<_>, Vec<_>) = call.into_iter().map(Waiting::split).unzip();
        let batch: Vec<T> = asked.into_iter().map(|single| single.one).collect();
        let same = match T::write(link, &keys, partitions, &batch).await.map(T::of_each) {
            Ok(OfEach::Own(own)) => {
                for (tell, written) in tells.into_iter().zip(own) {
                    tell.tell(Ok(written));
                }
                return;
            }
            Ok(OfEach::NoRoom(_)) if batch.len() > 1 => {
                for (tell, one) in tells.into_iter().zip(batch) {
                    tell.tell(T::write(link, &keys, partitions, &[one]).await);
                }
                return;
            }
            Ok(OfEach::NoRoom(written) | OfEach::Same(written)) => Ok(written),
            Err(error) => Err(error),
        };
        for tell in tells {
            tell.tell(same.clone());
        }
    }
}
