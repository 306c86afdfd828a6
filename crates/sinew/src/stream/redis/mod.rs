//! The streams' steps on Redis.

pub(super) mod broadcast;
mod gather;
mod manage;
mod read;
mod reply;
mod scripts;
pub(super) mod webhooks;

use redis::Value;

use super::backend::{Acking, Backend, Burying};
use super::model::{
    Bury, Claim, Consumer, Declared, Due, Entry, EntryId, Force, GroupChange, GroupLook, Joined,
    Joining, Left, Noted, Outgoing, Parking, PartitionLook, Promoted, Read, ReadFrom, Redriven,
    Reply, Settlement, Span, Start, TOPICS_MAX, Take, Taken, Tick, Ticking, Trim, Trimming, Who,
    Written,
};
use crate::kernel::error::Result;
use crate::kernel::key::{GroupKeys, PartitionKeys};
use crate::kernel::name::GroupName;
use crate::kernel::redis::{Gathering, Link, Rerun, Single};
pub(super) use read::{RedisReader, RedisTail, RedisWaker};

pub(crate) struct RedisBackend {
    link: Link,
    gathering: Gathering<Single<Outgoing>>,
}

impl RedisBackend {
    pub(crate) fn new(link: Link) -> Self {
        Self { gathering: Gathering::new(link.clone()), link }
    }

    /// Partitions with the same number can be waited for together.
    pub(super) fn together(&self, keys: &PartitionKeys) -> u16 {
        self.link.together(keys.log())
    }

    pub(super) fn reader(&self, keys: &[PartitionKeys], group: &GroupName) -> RedisReader {
        RedisReader::new(&self.link, keys, group)
    }

    pub(super) fn waker(&self, keys: &[PartitionKeys]) -> RedisWaker {
        RedisWaker::new(&self.link, keys)
    }

    pub(super) fn tail_reader(&self, keys: &[PartitionKeys]) -> RedisTail {
        RedisTail::new(&self.link, keys)
    }

    async fn entries(&self, log: &str, span: Span, count: usize) -> Result<Vec<Entry>> {
        let (range, from, to) = match span {
            Span::All => ("XRANGE", "-".to_owned(), "+".to_owned()),
            Span::After(id) => ("XRANGE", format!("({id}"), "+".to_owned()),
            Span::One(id) => ("XRANGE", id.to_string(), id.to_string()),
            Span::Last => ("XREVRANGE", "+".to_owned(), "-".to_owned()),
        };
        let count = if span == Span::Last { 1 } else { count };
        let mut range = redis::cmd(range);
        range.arg(log).arg(from).arg(to).arg("COUNT").arg(count);
        let reply: Value = self.link.call(range, log, Rerun::Harmless).run().await?;
        reply::entries(reply)
    }
}

impl Backend for RedisBackend {
    async fn declare(
        &self,
        keys: &PartitionKeys,
        partitions: Option<u16>,
        len_max: Option<u64>,
        keep_ms: Option<u64>,
    ) -> Result<Declared> {
        scripts::declare(&self.link, keys, partitions, len_max, keep_ms).await
    }

    async fn publish(
        &self,
        keys: &PartitionKeys,
        partitions: u16,
        events: Vec<Outgoing>,
    ) -> Result<Written> {
        self.gathering.write(keys, partitions, events).await
    }

    async fn promote(&self, keys: &PartitionKeys, max: usize) -> Result<Promoted> {
        scripts::promote(&self.link, keys, max).await
    }

    async fn join(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        joining: &Joining<'_>,
    ) -> Result<Joined> {
        scripts::join(&self.link, keys, group, joining).await
    }

    async fn tick(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        ticking: &Ticking<'_>,
    ) -> Result<Tick> {
        scripts::tick(&self.link, keys, group, ticking).await
    }

    async fn members(&self, group: &GroupKeys) -> Result<Vec<String>> {
        scripts::members(&self.link, group).await
    }

    async fn rename(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        old: &str,
        new: &str,
        lease_ms: u64,
    ) -> Result<Reply<Vec<EntryId>>> {
        scripts::rename(&self.link, keys, group, [old, new], lease_ms).await
    }

    async fn recover(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        consumer: &str,
        known: &[EntryId],
        max: usize,
    ) -> Result<Reply<Taken>> {
        scripts::recover(&self.link, keys, group, consumer, known, max).await
    }

    async fn claim(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        ticking: &Ticking<'_>,
        from: &str,
        max: usize,
    ) -> Result<Claim> {
        scripts::claim(&self.link, keys, group, ticking, from, max).await
    }

    async fn due(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        consumer: &str,
        max: usize,
    ) -> Result<Due> {
        scripts::due(&self.link, keys, group, consumer, max).await
    }

    async fn ack(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        who: &Who,
        acking: Acking<'_>,
    ) -> Result<Reply<Settlement>> {
        scripts::ack(&self.link, keys, group, who, acking).await
    }

    async fn park(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        who: &Who,
        parking: &[Parking],
    ) -> Result<Reply<Settlement>> {
        scripts::park(&self.link, keys, group, who, parking).await
    }

    async fn bury(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        who: &Who,
        burying: Burying<'_>,
    ) -> Result<Bury> {
        scripts::bury(&self.link, keys, group, who, burying).await
    }

    async fn leave(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        consumer: &str,
        max: usize,
    ) -> Result<Reply<Left>> {
        scripts::leave(&self.link, keys, group, consumer, max).await
    }

    async fn notes(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        consumer: &str,
        ids: &[EntryId],
    ) -> Result<Reply<Vec<Noted>>> {
        scripts::notes(&self.link, keys, group, consumer, ids).await
    }

    async fn read_new(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        consumer: &str,
        max: usize,
    ) -> Result<Reply<Vec<Entry>>> {
        read::read_new(&self.link, keys, group.name(), consumer, max).await
    }

    async fn take(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        owner: &str,
        lease_ms: u64,
    ) -> Result<Take> {
        scripts::take(&self.link, keys, group, owner, lease_ms).await
    }

    async fn hold(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        fence: u64,
        lease_ms: u64,
    ) -> Result<Tick> {
        scripts::hold(&self.link, keys, group, fence, lease_ms).await
    }

    async fn read(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        fence: u64,
        from: ReadFrom,
        max: usize,
    ) -> Result<Read> {
        scripts::read(&self.link, keys, group, fence, from, max).await
    }

    async fn release(&self, _: &PartitionKeys, group: &GroupKeys, fence: u64) -> Result<bool> {
        scripts::release(&self.link, group, fence).await
    }

    async fn trim(&self, keys: &PartitionKeys, trimming: Trimming) -> Result<Trim> {
        manage::trim(&self.link, keys, trimming.of(keys.topic())).await
    }

    async fn partitions(&self, keys: &PartitionKeys) -> Result<Option<u16>> {
        let mut get = redis::cmd("HGET");
        get.arg(keys.meta()).arg("n");
        self.link.call(get, keys.meta(), Rerun::Harmless).run().await
    }

    async fn look(&self, keys: &PartitionKeys) -> Result<Option<PartitionLook>> {
        let look = manage::look(&self.link, keys).await?;
        Ok((look.declared.partitions > 0).then_some(look))
    }

    async fn look_at_groups(&self, keys: &PartitionKeys) -> Result<Vec<GroupLook>> {
        Ok(manage::look(&self.link, keys).await?.groups)
    }

    async fn range(&self, keys: &PartitionKeys, span: Span, count: usize) -> Result<Vec<Entry>> {
        self.entries(keys.log(), span, count).await
    }

    async fn dead_range(
        &self,
        keys: &PartitionKeys,
        span: Span,
        count: usize,
    ) -> Result<Vec<Entry>> {
        self.entries(keys.dead(), span, count).await
    }

    async fn redrive(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        dead: &[EntryId],
    ) -> Result<Redriven> {
        manage::redrive(&self.link, keys, group, dead).await
    }

    async fn drop_dead(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        dead: &[EntryId],
    ) -> Result<u64> {
        manage::drop_dead(&self.link, keys, group, dead).await
    }

    async fn seek(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        to: Start,
        how: Force,
    ) -> Result<GroupChange> {
        manage::seek(&self.link, keys, group, to, how).await
    }

    async fn keep(&self, keys: &PartitionKeys, group: &GroupKeys) -> Result<()> {
        manage::keep(&self.link, keys, group).await
    }

    async fn forget(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        how: Force,
    ) -> Result<GroupChange> {
        manage::forget(&self.link, keys, group, how).await
    }

    async fn inbox(&self, group: &GroupKeys, events: &[&str]) -> Result<Vec<bool>> {
        let marks: Vec<String> = events.iter().map(|event| group.done(event)).collect();
        let Some(first) = marks.first() else { return Ok(Vec::new()) };
        let mut mget = redis::cmd("MGET");
        mget.arg(&marks);
        let marks: Vec<Option<String>> = self.link.call(mget, first, Rerun::Harmless).run().await?;
        Ok(marks.iter().map(Option::is_some).collect())
    }

    async fn consumers(&self, keys: &PartitionKeys, group: &GroupKeys) -> Result<Vec<Consumer>> {
        manage::consumers(&self.link, keys, group).await
    }

    async fn topics(&self, topics_key: &str) -> Result<Vec<String>> {
        let mut range = redis::cmd("ZRANGE");
        range.arg(topics_key).arg(0).arg(TOPICS_MAX - 1);
        let mut topics: Vec<String> =
            self.link.call(range, topics_key, Rerun::Harmless).run().await?;
        topics.sort_unstable();
        Ok(topics)
    }

    async fn note_topic(&self, topics_key: &str, topic: &str) -> Result<bool> {
        manage::note_topic(&self.link, topics_key, topic).await
    }
}
