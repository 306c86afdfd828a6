//! The keeper: renews the lease of each partition, joins what was lost, and says what there is to take.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::super::again::growing;
use super::super::backend::Backend as _;
use super::super::checkpoint::is_another_stream;
use super::super::model::{GroupMode, Joined, Joining, Made, Tick, Ticked, Trimming, Whom, millis};
use super::super::tally::Lost;
use super::{Consumer, Part};
use crate::kernel::clock::Monotonic;
use crate::kernel::error::{Error, Result};

/// Every so many ticks, those are looked for whom nobody knows.
const LOOK_EVERY: u32 = 10;
/// How often a topic is trimmed, and its lag told, give or take a fifth.
const TIDY_EVERY: Duration = Duration::from_secs(10);
/// The store forgets after a day that a consumer was taken for dead: who comes back as late as this goes by another
/// name, whether it was or not.
const STALE_AFTER: Duration = Duration::from_secs(3_600);

impl Consumer {
    /// Ticks until it is aborted.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut ticks = 0_u32;
        loop {
            let whom = match ticks % LOOK_EVERY {
                0 => Whom::Everyone,
                _ => Whom::Members,
            };
            ticks = ticks.wrapping_add(1);
            self.follow_moves();
            let all = (0..self.parts.len()).map(|index| self.tick(index, whom));
            let has_fallen = join_all(all).await.into_iter().any(|has_fallen| has_fallen);
            if has_fallen {
                match self.take_new_name() {
                    // At once: until the entries have come over, nothing can be told of them.
                    Ok(()) => continue,
                    Err(error) => self.end_for(error),
                }
            }
            self.until_next_tick().await;
        }
    }

    async fn until_next_tick(&self) {
        let clock = &self.engine.clock;
        tokio::select! {
            () = self.to_keep.notified() => {}
            () = clock.sleep_until(clock.now().after(self.tick_every())) => {}
        }
    }

    /// Joins a partition when the subscription begins. One that cannot be reached is joined by a later tick.
    pub(super) async fn join_first(&self, index: usize) -> Result<()> {
        match self.join(&self.parts[index]).await {
            Err(error) if !error.is_final() => {
                self.note_trouble(&error);
                self.parts[index].standing.lock().must_join = true;
                Ok(())
            }
            joined => joined,
        }
    }

    /// Renews the lease of a partition. Whether the consumer was taken for dead.
    async fn tick(&self, index: usize, whom: Whom) -> bool {
        let part = &self.parts[index];
        match self.try_tick(part, whom).await {
            Ok(has_fallen) => has_fallen,
            Err(error) if error.is_final() => {
                self.end_for(error);
                false
            }
            Err(error) => {
                self.note_trouble(&error);
                // It may be another store that answers next, or one that has lost what was there.
                part.standing.lock().must_join = true;
                false
            }
        }
    }

    async fn try_tick(&self, part: &Part, whom: Whom) -> Result<bool> {
        let sent = self.engine.clock.now();
        {
            let mut standing = part.standing.lock();
            if sent.since(standing.kept_at) > STALE_AFTER {
                standing.kept_at = sent;
                return Ok(true);
            }
        }
        if !part.standing.lock().renames.is_empty() {
            let _taking = part.held.taking().await;
            self.bring_over(part).await?;
        }
        let name = self.name();
        let ticking = self.ticking(&name, whom);
        match self.engine.backend.tick(&part.keys, &part.group, &ticking).await? {
            Tick::Kept(ticked) => {
                self.kept(part, sent, ticked);
                if part.standing.lock().must_join {
                    self.join(part).await?;
                }
            }
            Tick::Fallen => return Ok(true),
            Tick::NoGroup => self.join(part).await?,
        }
        Ok(false)
    }

    fn kept(&self, part: &Part, sent: Monotonic, ticked: Ticked) {
        let now = self.engine.clock.now();
        part.held.lease_until(sent.after(self.settings.lease));
        {
            // Made again by someone else: it may be of another stream.
            let mut standing = part.standing.lock();
            standing.must_join |= standing.born_us.is_some_and(|was| was != ticked.born_us);
        }
        if let Some(checkpoint) = ticked.checkpoint {
            // One that was moved back by people is noted as it is; after an outage, only once it was compared.
            if !part.standing.lock().must_join && !self.moves.lock().is_due() {
                part.held.sought(ticked.sought);
                self.checkpoints.note(part.keys.partition(), checkpoint);
                part.held.passed(&checkpoint);
            }
        }
        self.tally.stands(part.keys.partition(), ticked.pending, ticked.oldest_ms);
        let held = u64::try_from(part.held.len()).unwrap_or(u64::MAX);
        let mut standing = part.standing.lock();
        standing.kept_at = now;
        standing.clock = Some((ticked.now_ms, now));
        let next_ms = [ticked.next_due_ms, ticked.next_later_ms].into_iter().flatten().min();
        standing.due_at = next_ms.map(|next_ms| standing.at(next_ms, now));
        // Twice in a row: a reply may be under way.
        standing.more_there = if ticked.mine > held { standing.more_there + 1 } else { 0 };
        if standing.more_there >= 2 {
            standing.more_there = 0;
            standing.must_recover = true;
        }
        standing.fallen = ticked.fallen;
        drop(standing);
        self.to_take.notify_one();
    }

    /// Joins the group, and makes it where it is gone, at its checkpoint.
    async fn join(&self, part: &Part) -> Result<()> {
        let partition = part.keys.partition();
        let (name, sent) = (self.name(), self.engine.clock.now());
        {
            // Whoever finds meanwhile that it must be joined anew is heard.
            let mut standing = part.standing.lock();
            standing.is_joined = false;
            standing.must_join = false;
        }
        let checkpoints = self.checkpoints.of(partition);
        let joining = Joining {
            who: &name,
            lease_ms: self.lease_ms(),
            mode: GroupMode::Any,
            start: self.settings.start,
            forget_ms: self.settings.forget_after.map(millis),
            checkpoints: &checkpoints,
        };
        let joined = self.engine.backend.join(&part.keys, &part.group, &joining).await?;
        let (topic, group) = self.settings.names();
        let (now_ms, made, from, sought, born_us, last) = match joined {
            Joined::Done { now_ms, made, from, sought, born_us, last } => {
                (now_ms, made, from, sought, born_us, last)
            }
            Joined::OtherMode(mode) => {
                return Err(Error::misconfigured(format!(
                    "group {group} of topic {topic} has members that share its events another way ({}): expected all to subscribe alike",
                    mode.name()
                )));
            }
        };
        let now = self.engine.clock.now();
        part.held.lease_until(sent.after(self.settings.lease));
        part.held.joined(sought, last);
        let was_born_us = part.standing.lock().born_us.replace(born_us);
        if is_another_stream(was_born_us, born_us, made, from, &checkpoints) {
            self.note_flush(part, made);
        } else if made != Made::Nothing && !checkpoints.is_empty() {
            tracing::warn!(
                topic,
                group,
                partition,
                ?from,
                "the group was behind or gone, and goes on at its checkpoint"
            );
        }
        {
            let mut standing = part.standing.lock();
            standing.is_joined = true;
            standing.was_joined = true;
            standing.must_recover = true;
            standing.kept_at = now;
            standing.clock = Some((now_ms, now));
            // Others had the same outage, and are to be heard before they are taken for dead.
            standing.claim_after = now.after(self.settings.grace());
        }
        self.joined.notify_waiters();
        self.to_take.notify_one();
        if made == Made::New {
            // Where the store was emptied, so was what the topic is.
            let partitions = u16::try_from(self.parts.len()).unwrap_or(u16::MAX);
            self.engine.backend.declare(&part.keys, Some(partitions), None, None).await?;
        }
        Ok(())
    }

    /// The stream is another: what was in the one before is lost.
    fn note_flush(&self, part: &Part, made: Made) {
        let held = part.held.lose_all();
        part.held.forget_finished();
        let partition = part.keys.partition();
        self.checkpoints.forget(partition);
        let lost = self.tally.forget(partition);
        if made == Made::New {
            // Whoever makes the group counts for all; those that are held here are among the pending.
            self.tally.lost(usize::try_from(lost).unwrap_or(usize::MAX), Lost::Flushed);
        } else {
            self.tally.lost_as_told(held);
        }
        let (topic, group) = self.settings.names();
        if lost == 0 {
            tracing::warn!(
                topic,
                group,
                partition,
                "the stream is another: all that is known to have been in the one before was finished"
            );
            return;
        }
        tracing::error!(topic, group, partition, lost, cause = ?Lost::Flushed, "the store has lost this stream: events that were not finished are gone");
    }

    /// Trims the topic, and tells the lag, until it is aborted.
    pub(super) async fn tidy(self: Arc<Self>) {
        let checkpoints = self.checkpoints.keep_on_disk();
        let tidy = async {
            let mut again = growing();
            loop {
                let pause = TIDY_EVERY.mul_f64(0.8 + 0.4 * fastrand::f64());
                let clock = &self.engine.clock;
                clock.sleep_until(clock.now().after(pause)).await;
                match self.tidy_once().await {
                    Ok(()) => again.well(),
                    Err(error) => {
                        self.note_trouble(&error);
                        again.pause().await;
                    }
                }
            }
        };
        // Neither comes to an end.
        tokio::join!(checkpoints, tidy);
    }

    async fn tidy_once(&self) -> Result<()> {
        let (topic, group) = self.settings.names();
        let forget_ms = self.settings.forget_after.map(millis);
        let trimming = Trimming { keep_ms: None, forget_ms };
        for part in &self.parts {
            let trim = self.engine.backend.trim(&part.keys, trimming).await?;
            for forgotten in &trim.forgotten {
                tracing::warn!(topic, group = %forgotten, "no one reads this group any more: its events are no longer kept");
            }
            let groups = self.engine.backend.look_at_groups(&part.keys).await?;
            let own = groups.into_iter().find(|one| one.name == group);
            self.tally.lags(part.keys.partition(), own.map_or(0, |own| own.unfinished()));
        }
        Ok(())
    }
}
