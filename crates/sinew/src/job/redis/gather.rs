//! Jobs that are enqueued at the same time, in one call.

use bytes::Bytes;

use super::scripts;
use crate::job::model::{Outgoing, Written};
use crate::kernel::error::Result;
use crate::kernel::key::QueueKeys;
use crate::kernel::redis::{Batched, Link, OfEach};

impl Batched for Outgoing {
    type Keys = QueueKeys;
    type Written = Written;

    fn size(&self) -> usize {
        self.body.len() + self.next.as_ref().map_or(0, Bytes::len)
    }

    /// Of two with one unique name in one call, the second would never take the place of the first.
    fn goes_with<'a>(&self, mut call: impl Iterator<Item = &'a Self>) -> bool {
        let Some(claim) = &self.claim else { return true };
        let has_its_name =
            |other: &Self| other.claim.as_ref().is_some_and(|other| other.digest == claim.digest);
        !call.any(has_its_name)
    }

    async fn write(
        link: &Link,
        keys: &QueueKeys,
        partitions: u16,
        batch: &[Self],
    ) -> Result<Written> {
        scripts::enqueue(link, keys, partitions, batch).await
    }

    fn of_each(written: Written) -> OfEach<Written> {
        match written {
            Written::Done(wrote) => {
                OfEach::Own(wrote.into_iter().map(|one| Written::Done(vec![one])).collect())
            }
            Written::Full { .. } => OfEach::NoRoom(written),
            Written::OtherPartitions(_) => OfEach::Same(written),
        }
    }
}
