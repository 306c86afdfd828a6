//! The sessions' steps on Redis.

mod row;
mod scripts;

use std::time::Duration;

use bytes::Bytes;
use redis::Cmd;

use super::backend::{Backend, Ending, Took, Whose};
use super::model::{
    Absence, Beginning, Begun, Found, Listed, Outcome, Rotated, Rotation, Row, SESSIONS_MAX,
    Saving, Stored,
};
use super::token::SessionId;
use crate::kernel::error::{Error, Result};
use crate::kernel::key::{Code, SessionKeys, SlotKeys};
use crate::kernel::redis::{Link, Rerun, was_split};

/// How many sessions of a list are asked for together.
const BATCH: usize = 8;

/// For what a command has beside a key and a save, in bytes.
const ROOM: usize = 16;

pub(crate) struct RedisBackend {
    link: Link,
}

impl RedisBackend {
    pub(crate) fn new(link: Link) -> Self {
        Self { link }
    }

    /// What each of some keys of a slot has; in one step, unless the slot moves: then in their order.
    async fn read<const N: usize>(&self, keys: [&str; N]) -> Result<[Option<Bytes>; N]> {
        let values = self.read_all(&keys).await?;
        values
            .try_into()
            .map_err(|_| Error::corrupt("Redis has read more or fewer keys than it was told"))
    }

    async fn read_all(&self, keys: &[&str]) -> Result<Vec<Option<Bytes>>> {
        let first = keys.first().copied().unwrap_or_default();
        let keys_len: usize = keys.iter().map(|key| key.len()).sum();
        let mut mget = Cmd::with_capacity(1 + keys.len(), keys_len + ROOM);
        mget.arg("MGET").arg(keys);
        match self.link.call(mget, first, Rerun::Harmless).unless_split().run().await {
            Err(error) if was_split(&error) => {}
            read => return read,
        }
        let mut values = Vec::with_capacity(keys.len());
        for key in keys {
            let (mut get, key) = (redis::cmd("GET"), *key);
            get.arg(key);
            values.push(self.link.call(get, key, Rerun::Harmless).run().await?);
        }
        Ok(values)
    }

    async fn look(&self, keys: &SessionKeys, idle_ms: u64) -> Result<Found> {
        let session = keys.session();
        // The session first: an epoch that is newer than it ends it, and none that is older.
        let [text, epoch] = self.read([session, keys.slot().epoch()]).await?;
        let Some(stored) = text.and_then(|text| row::read(&text)) else {
            return Ok(Found::Not(Absence::Unknown));
        };
        let mut now_ms = self.link.now_ms(session).await?;
        if !stored.0.is_live(Some(idle_ms), now_ms) {
            // Its key lives, and who has asked before may have been a second ago.
            now_ms = self.link.ask_now_ms(session).await?;
        }
        Ok(judge(stored, epoch_of(epoch), Some(idle_ms), now_ms))
    }

    /// Appends a save to a session that is there. Where it has ended, the save is no session to anyone, and goes with
    /// what `bury()` has left.
    async fn append(
        &self,
        keys: &SessionKeys,
        whose: Whose,
        saving: &Saving<'_>,
        to: Stored,
    ) -> Result<Outcome> {
        let (session, save) = (keys.session(), row::appended(saving.changes));
        let len = to.len + save.len() as u64;
        let mut append = Cmd::with_capacity(3, session.len() + save.len() + ROOM);
        append.arg("APPEND").arg(session).arg(save);
        let has_len: u64 = self.link.call(append, session, Rerun::Harmful).run().await?;
        if has_len == len {
            return Ok(Outcome::Appended(Some(Stored { len, appended: to.appended + 1 })));
        }
        // Others have saved too, or it has ended.
        let is_live = scripts::is_live_or_remove(&self.link, keys, whose, saving.idle_ms).await;
        match is_live.map_err(Error::made_unsure)? {
            true => Ok(Outcome::Appended(None)),
            false => Ok(Outcome::Gone),
        }
    }

    /// Those that are live, and whether any was of another epoch.
    async fn look_at_all(&self, slot: &SlotKeys) -> Result<(Vec<Listed>, bool)> {
        let mut range = redis::cmd("ZREVRANGE");
        range.arg(slot.index()).arg(0).arg(SESSIONS_MAX - 1);
        let ids: Vec<String> = self.link.call(range, slot.index(), Rerun::Harmless).run().await?;
        let ids: Vec<Code> = ids.iter().filter_map(|id| id.parse().ok()).collect();
        let now_ms = self.link.ask_now_ms(slot.index()).await?;
        let (mut listed, mut has_ended) = (Vec::new(), false);
        for batch in ids.chunks(BATCH) {
            let sessions: Vec<String> = batch.iter().map(|id| slot.session(*id)).collect();
            let mut keys: Vec<&str> = sessions.iter().map(String::as_str).collect();
            keys.push(slot.epoch());
            let mut texts = self.read_all(&keys).await?;
            let epoch = epoch_of(texts.pop().flatten());
            for (id, text) in batch.iter().zip(texts) {
                let Some(stored) = text.and_then(|text| row::read(&text)) else { continue };
                match judge(stored, epoch, None, now_ms) {
                    Found::Live { row, now_ms } => {
                        listed.push(Listed { id: SessionId(*id), row: row.outline(now_ms) });
                    }
                    Found::Not(absence) => has_ended |= absence == Absence::Ended,
                }
            }
        }
        Ok((listed, has_ended))
    }
}

impl Backend for RedisBackend {
    async fn load(&self, keys: &SessionKeys, idle_ms: u64) -> Result<Found> {
        match self.look(keys, idle_ms).await? {
            // One that stays when the others end is of a new epoch. While the slot moves, that may be between two
            // reads: the session was read before it, and the epoch after.
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
        match saving.appends_to {
            Some(stored) => self.append(keys, whose, saving, stored).await,
            None => scripts::save(&self.link, keys, whose, saving).await,
        }
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

fn judge(
    (row, began_in): (Row, u64),
    epoch: Option<u64>,
    idle_ms: Option<u64>,
    now_ms: u64,
) -> Found {
    // An epoch that is lost ends sessions, and brings none back.
    let is_of_epoch = row.user.is_none() || epoch.is_some_and(|epoch| epoch == began_in);
    match (row.is_live(idle_ms, now_ms), is_of_epoch) {
        (true, true) => Found::Live { row, now_ms },
        (false, _) => Found::Not(Absence::Expired),
        (true, false) => Found::Not(Absence::Ended),
    }
}
