//! Events that are published at the same time, in one call.

use super::scripts;
use crate::kernel::error::Result;
use crate::kernel::key::PartitionKeys;
use crate::kernel::redis::{Batched, Link, OfEach};
use crate::stream::model::{Outgoing, Written, fields_len};

impl Batched for Outgoing {
    type Keys = PartitionKeys;
    type Written = Written;

    fn size(&self) -> usize {
        fields_len(&self.fields)
    }

    /// One without a dedup id would keep the others from being sent again.
    fn goes_with<'a>(&self, mut call: impl Iterator<Item = &'a Self>) -> bool {
        call.next().is_none_or(|first| first.dedup.is_some() == self.dedup.is_some())
    }

    async fn write(
        link: &Link,
        keys: &PartitionKeys,
        partitions: u16,
        batch: &[Self],
    ) -> Result<Written> {
        scripts::publish(link, keys, partitions, batch).await
    }

    fn of_each(written: Written) -> OfEach<Written> {
        match written {
            Written::Done(wrote) => {
                OfEach::Own(wrote.into_iter().map(|one| Written::Done(vec![one])).collect())
            }
            Written::Full { .. } | Written::TooManyLater => OfEach::NoRoom(written),
            Written::OtherPartitions(_) | Written::NotDeclared => OfEach::Same(written),
        }
    }
}
