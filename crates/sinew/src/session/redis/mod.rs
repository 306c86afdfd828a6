//! The sessions' steps on Redis.

mod row;
mod scripts;

use std::time::Duration;

use bytes::Bytes;

use super::backend::{Backend, Ending, Took, Whose};
use super::model::{
    Absence, Beginning, Begun, Found, Listed, Outcome, Rotated, Rotation, Row, SESSIONS_MAX, Saving,
};
use super::token::SessionId;
use crate::kernel::error::Result;
use crate::kernel::key::{Code, SessionKeys, SlotKeys};
use crate::kernel::redis::{Link, Rerun, was_split};
use row::{Fields, Stored, WHAT, expiry_of, is_own};

/// How many sessions of a list are asked for together.
const BATCH: usize = 100;

pub(crate) struct RedisBackend {
    link: Link,
}

/// A session, the epoch of its slot, and Redis's time in seconds and microseconds.
type Loaded = (Fields, Option<Bytes>, (u64, u64));

impl RedisBackend {
    pub(crate) fn new(link: Link) -> Self {
        Self { link }
    }

    async fn read(&self, keys: &SessionKeys) -> Result<Loaded> {
        let (session, epoch) = (keys.session(), keys.slot().epoch());
        let mut reads = redis::pipe();
        reads.cmd("HGETALL").arg(session).cmd("GET").arg(epoch).cmd("TIME");
        match self.link.reads(reads, session).run().await {
            Err(error) if was_split(&error) => self.read_one_by_one(keys).await,
            read => read,
        }
    }

    /// While the slot moves, a key that is not here may be there. The session first: an epoch that is newer
    /// than it ends it, and none that is older.
    async fn read_one_by_one(&self, keys: &SessionKeys) -> Result<Loaded> {
        let (session, epoch) = (keys.session(), keys.slot().epoch());
        let (mut all, mut get) = (redis::cmd("HGETALL"), redis::cmd("GET"));
        all.arg(session);
        get.arg(epoch);
        let fields = self.link.call(all, session, Rerun::Harmless).run().await?;
        let epoch = self.link.call(get, epoch, Rerun::Harmless).run().await?;
        let time = self.link.call(redis::cmd("TIME"), session, Rerun::Harmless).run().await?;
        Ok((fields, epoch, time))
    }

    async fn look(&self, keys: &SessionKeys, idle_ms: u64) -> Result<Found> {
        let (fields, epoch, time) = self.read(keys).await?;
        Ok(judge(&fields, epoch_of(epoch), Some(idle_ms), millis(time)))
    }

    /// Those that are live, and whether any was of another epoch.
    async fn look_at_all(&self, slot: &SlotKeys) -> Result<(Vec<Listed>, bool)> {
        let mut reads = redis::pipe();
        reads.cmd("ZREVRANGE").arg(slot.index()).arg(0).arg(SESSIONS_MAX - 1).cmd("TIME");
        let (ids, time): (Vec<String>, (u64, u64)) =
            self.link.reads(reads, slot.index()).run().await?;
        let ids: Vec<Code> = ids.iter().filter_map(|id| id.parse().ok()).collect();
        let (mut listed, mut has_ended) = (Vec::new(), false);
        for batch in ids.chunks(BATCH) {
            let (outlines, epoch) = self.outlines(slot, batch).await?;
            for (id, fields) in batch.iter().zip(outlines) {
                match judge(&fields, epoch, None, millis(time)) {
                    Found::Live { row, now_ms } => {
                        listed.push(Listed { id: SessionId(*id), row: row.outline(now_ms) });
                    }
                    Found::Not(absence) => has_ended |= absence == Absence::Ended,
                }
            }
        }
        Ok((listed, has_ended))
    }

    /// All but what the data are, of some sessions of a slot; and its epoch, in one write with them.
    async fn outlines(&self, slot: &SlotKeys, ids: &[Code]) -> Result<(Vec<Fields>, Option<u64>)> {
        let keys: Vec<String> = ids.iter().map(|id| slot.session(*id)).collect();
        let mut reads = redis::pipe();
        for key in &keys {
            reads.cmd("HKEYS").arg(key);
        }
        let names: Vec<Vec<Vec<u8>>> = self.link.reads(reads, slot.index()).run().await?;
        let (mut reads, mut asked) = (redis::pipe(), Vec::new());
        for (key, names) in keys.iter().zip(&names) {
            let data = names.iter().filter(|name| !is_own(name));
            let own = std::iter::once(WHAT.to_vec());
            let fields: Vec<Vec<u8>> = own.chain(data.map(|name| expiry_of(name))).collect();
            reads.cmd("HMGET").arg(key).arg(&fields);
            asked.push(fields);
        }
        // Of one type with the others.
        reads.cmd("MGET").arg(slot.epoch());
        let mut told: Vec<Vec<Option<Bytes>>> = self.link.reads(reads, slot.index()).run().await?;
        let epoch = epoch_of(told.pop().and_then(|mut epoch| epoch.pop()).flatten());
        let outlines = asked.into_iter().zip(told).zip(names).map(|((asked, told), names)| {
            let own =
                asked.into_iter().zip(told).filter_map(|(name, value)| Some((name.into(), value?)));
            let data = names.into_iter().filter(|name| !is_own(name));
            own.chain(data.map(|name| (name.into(), Bytes::new()))).collect()
        });
        Ok((outlines.collect(), epoch))
    }
}

impl Backend for RedisBackend {
    async fn load(&self, keys: &SessionKeys, idle_ms: u64) -> Result<Found> {
        match self.look(keys, idle_ms).await? {
            // One that stays when the others end is of a new epoch. Redis may do that between two commands of one
            // write: the session was read before it, and the epoch after.
            Found::Not(Absence::Ended) => self.look(keys, idle_ms).await,
            found => Ok(found),
        }
    }

    async fn touch(&self, keys: &SessionKeys, whose: Whose, idle_ms: u64) -> Result<Option<u64>> {
        scripts::touch(&self.link, keys, whose, idle_ms).await
    }

    async fn create(&self, keys: &SessionKeys, new: &Beginning, kept: Duration) -> Result<Begun> {
        scripts::create(&self.link, keys, new, kept).await
    }

    async fn save(&self, keys: &SessionKeys, whose: Whose, saving: &Saving<'_>) -> Result<Outcome> {
        scripts::save(&self.link, keys, whose, saving).await
    }

    async fn take(&self, keys: &SessionKeys, idle_ms: u64, name: &str) -> Result<Took> {
        scripts::take(&self.link, keys, idle_ms, name).await
    }

    async fn end(&self, keys: &SessionKeys, whose: Whose, how: Ending) -> Result<bool> {
        scripts::end(&self.link, keys, whose, how.replicas).await
    }

    async fn take_down(
        &self,
        keys: &SessionKeys,
        whose: Whose,
        how: Ending,
    ) -> Result<Option<Row>> {
        scripts::take_down(&self.link, keys, whose, how.replicas).await
    }

    async fn end_all(
        &self,
        slot: &SlotKeys,
        stays: Option<&SessionKeys>,
        how: Ending,
    ) -> Result<()> {
        scripts::end_all(&self.link, slot, stays, how).await
    }

    async fn rotate(
        &self,
        from: &SessionKeys,
        to: &SessionKeys,
        whose: Whose,
        rotation: &Rotation,
        how: Ending,
    ) -> Result<Option<Rotated>> {
        scripts::rotate(&self.link, from, to, whose, rotation, how).await
    }

    async fn list(&self, slot: &SlotKeys) -> Result<Vec<Listed>> {
        match self.look_at_all(slot).await? {
            // As above.
            (_, true) => Ok(self.look_at_all(slot).await?.0),
            (listed, false) => Ok(listed),
        }
    }
}

/// What is no number is no session's epoch.
fn epoch_of(text: Option<Bytes>) -> Option<u64> {
    std::str::from_utf8(&text?).ok()?.parse().ok()
}

fn judge(fields: &Fields, epoch: Option<u64>, idle_ms: Option<u64>, now_ms: u64) -> Found {
    let Some(Stored { row, epoch: began_in }) = row::read(fields) else {
        return Found::Not(Absence::Unknown);
    };
    // An epoch that is lost ends sessions, and brings none back.
    let is_of_epoch = row.user.is_none() || began_in.is_some() && began_in == epoch;
    match (row.is_live(idle_ms, now_ms), is_of_epoch) {
        (true, true) => Found::Live { row, now_ms },
        (false, _) => Found::Not(Absence::Expired),
        (true, false) => Found::Not(Absence::Ended),
    }
}

fn millis((seconds, micros): (u64, u64)) -> u64 {
    seconds.saturating_mul(1_000).saturating_add(micros / 1_000)
}
