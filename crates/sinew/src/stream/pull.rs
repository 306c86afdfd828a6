//! Events taken by hand, a few at a time, under a lease of their own: for those who have no process that stays.

mod find;
mod token;
mod wait;
pub(super) mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::join_all;

use super::Streams;
use super::again::is_refusal;
use super::backend::{Acking, Backend as _, Burying};
use super::event::Event;
use super::handler::Ack;
use super::model::{
    Backoff, Becomes, Bury, CLAIM_MAX, Claim, DELAY_MAX, Entry, EntryId, FULL_WAIT, GroupMode,
    Joined, Joining, LEASE_DEFAULT, LEAVE_MAX, LEAVE_TIME_MAX, Left, Note, Parking, Place,
    READ_MAX, Reply, Tick, Ticking, Who, Whom, becomes, check_lease, crashed_too_often, grace,
    millis,
};
use super::subscribe::StartFrom;
use super::tally::dead_letters;
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::{GroupKeys, PartitionKeys};
use crate::kernel::name::{GroupName, TopicName};

pub use self::token::LeaseToken;
pub(super) use self::token::shown;

/// How long a pull waits at most.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Takes events of a group by hand. Cheap to clone.
#[derive(Clone, Debug)]
#[must_use = "events are taken by pull()"]
pub struct Puller {
    streams: Streams,
    topic: String,
    group: String,
    lease: Duration,
    from: StartFrom,
    backoff: Backoff,
}

/// Events that were pulled, and the lease that they are under.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// To be named with what becomes of them.
    pub lease: LeaseToken,
    /// When others may have what was not acknowledged, by this machine's clock.
    pub until: SystemTime,
    /// In the order of each partition.
    pub events: Vec<PulledEvent>,
}

/// An event that was pulled.
#[derive(Clone, Debug)]
pub struct PulledEvent {
    /// With the data as they are.
    pub event: Event<Bytes>,
    /// Which delivery this is, as far as is known: 1 for the first.
    pub attempt: u32,
}

/// What became of events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Those that were still under the lease.
    pub done: Vec<Place>,
    /// Those that were not: others may have them.
    pub lost: Vec<Place>,
}

/// A partition of the group.
struct Part {
    keys: PartitionKeys,
    group: GroupKeys,
}

impl Puller {
    pub(super) fn new(streams: Streams, topic: &str, group: &str) -> Self {
        let (topic, group) = (topic.to_owned(), group.to_owned());
        let (lease, from, backoff) = (LEASE_DEFAULT, StartFrom::default(), Backoff::default());
        Self { streams, topic, group, lease, from, backoff }
    }

    /// For how long events are the caller's: a second to an hour, 30 s unless said.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Where the group begins, if it is new.
    pub fn from(mut self, from: StartFrom) -> Self {
        self.from = from;
        self
    }

    /// How events are tried again that failed.
    pub fn retry(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Takes so many events at most, 1 to 256, and fewer where they are long (some 8 MiB of them); waits this long for the
    /// first where there is none, up to a minute. The lease begins when there is something under it. `None` where there
    /// was nothing.
    ///
    /// *Cancellation*: what it was given comes back once the wait and the lease would be over.
    ///
    /// # Errors
    /// `Misconfigured` for a group whose members have partitions of their own; `Rejected` for a bad name or setting;
    /// `Unavailable` or `Timeout` when Redis is down.
    pub async fn pull(&self, max: usize, wait: Duration) -> Result<Option<Pulled>> {
        if !(1..=READ_MAX).contains(&max) {
            return Err(Error::rejected(format!(
                "{max} events are out of bounds: expected 1 to {READ_MAX}"
            )));
        }
        check_lease(self.lease)?;
        self.backoff.check()?;
        let (token, parts, wait) = (LeaseToken::new()?, self.parts().await?, wait.min(WAIT_MAX));
        for part in &parts {
            // It is to live for as long as it waits, too.
            self.tick(part, &token, self.lease + wait).await?;
        }
        self.watch(&parts).await;
        let (found, until) = match self.find(&parts, &token, max, wait).await {
            Ok(found) => found,
            Err(error) => {
                // No one hears of this lease: others have them now, and not as after a crash.
                join_all(parts.iter().map(|part| self.leave(part, &token))).await;
                return Err(error);
            }
        };
        let (events, holding) = match self.open_all(&parts, &token, found, max).await {
            Ok(opened) => opened,
            Err(error) => {
                join_all(parts.iter().map(|part| self.leave(part, &token))).await;
                return Err(error);
            }
        };
        let rest = parts.iter().enumerate().filter(|(at, _)| !holding.contains(at));
        // What cannot be left now is over with its lease: no reason to keep the events from who has them, or for long.
        let left = join_all(rest.map(|(_, part)| self.leave(part, &token)));
        let _ = tokio::time::timeout(LEAVE_TIME_MAX.min(self.lease / 4), left).await;
        Ok((!events.is_empty()).then_some(Pulled { lease: token, until, events }))
    }

    /// These are finished.
    ///
    /// *Cancellation*: they are, or are not.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when Redis is down: the same call again does no harm.
    pub async fn ack(&self, lease: &LeaseToken, places: &[Place]) -> Result<Settled> {
        let (parts, mut all) = self.by_part(places).await?;
        for (part, ids) in parts {
            let acking = Acking { ids: &ids, inbox: None };
            let backend = &self.streams.engine.backend;
            let reply = backend.ack(&part.keys, &part.group, &who(lease), acking).await?;
            let lost = match reply {
                Reply::Ok(settled) => settled.lost,
                Reply::NoGroup => ids.clone(),
            };
            all.add(&part, &ids, &lost);
            self.leave_if_done(&part, lease).await?;
        }
        Ok(all)
    }

    /// These are to be tried again: after a time, where one is given. With an error they have failed: that is noted,
    /// and after their last attempt they are dead letters. Without one they are put off, and no failure is counted.
    ///
    /// *Cancellation*: some may be put off, and others not.
    ///
    /// # Errors
    /// As [`Puller::ack`].
    pub async fn nack(
        &self,
        lease: &LeaseToken,
        places: &[(Place, Option<Duration>, Option<String>)],
    ) -> Result<Settled> {
        let said: BTreeMap<Place, _> =
            places.iter().map(|(place, after, error)| (*place, (*after, error.as_ref()))).collect();
        self.fail(lease, &said.keys().copied().collect::<Vec<_>>(), |place, note| {
            let now_ms = self.streams.engine.clock.wall().0;
            let (after, error) = said.get(&place).copied().unwrap_or_default();
            let of = |said| becomes(said, note, &self.backoff, None, now_ms, fastrand::f64());
            match (error, after) {
                (None, after) => of(Ok(Ack::Retry { after: after.unwrap_or_default() })),
                (Some(error), after) => match (of(Err(error.clone())), after) {
                    (Becomes::Park { note, .. }, Some(delay)) => {
                        Becomes::Park { delay: delay.min(DELAY_MAX), note }
                    }
                    (becomes, _) => becomes,
                },
            }
        })
        .await
    }

    /// These cannot be handled, and are dead letters from now on, for these reasons.
    ///
    /// *Cancellation*: some may be dead letters, and others not.
    ///
    /// # Errors
    /// As [`Puller::ack`].
    pub async fn dead_letter(
        &self,
        lease: &LeaseToken,
        places: &[(Place, String)],
    ) -> Result<Settled> {
        let said: BTreeMap<Place, &String> =
            places.iter().map(|(place, reason)| (*place, reason)).collect();
        self.fail(lease, &said.keys().copied().collect::<Vec<_>>(), |place, note| {
            let now_ms = self.streams.engine.clock.wall().0;
            let reason = said.get(&place).copied().cloned().unwrap_or_default();
            becomes(Ok(Ack::DeadLetter { reason }), note, &self.backoff, None, now_ms, 0.0)
        })
        .await
    }

    /// All events under the lease are the caller's for this long from now. Whether they still were.
    ///
    /// *Cancellation*: it is renewed, or not.
    ///
    /// # Errors
    /// `Rejected` for a lease out of bounds, and as [`Puller::ack`].
    pub async fn renew(&self, token: &LeaseToken, lease: Duration) -> Result<bool> {
        check_lease(lease)?;
        let (backend, mut is_held) = (&self.streams.engine.backend, false);
        for part in self.parts_there().await? {
            let members = backend.members(&part.group).await?;
            if members.iter().any(|member| **member == *token.0) {
                let ticking = ticking(token, lease);
                let tick = backend.tick(&part.keys, &part.group, &ticking).await?;
                is_held |= matches!(tick, Tick::Kept(_));
            }
        }
        Ok(is_held)
    }

    async fn parts(&self) -> Result<Vec<Part>> {
        let (topic, group) = (TopicName::new(&self.topic)?, GroupName::new(&self.group)?);
        let partitions = self.streams.partitions_or(&topic, 1).await?;
        Ok(Part::all(self.streams.partitions(&topic, partitions), &group))
    }

    /// None where there is no such topic: only what takes events makes one.
    async fn parts_there(&self) -> Result<Vec<Part>> {
        let (topic, group) = (TopicName::new(&self.topic)?, GroupName::new(&self.group)?);
        let keys = self.streams.all_there(&topic).await?.unwrap_or_default();
        Ok(Part::all(keys, &group))
    }

    /// What is asked of each partition; and all as lost, where there is no such topic.
    async fn by_part(&self, places: &[Place]) -> Result<(Vec<(Part, Vec<EntryId>)>, Settled)> {
        if places.len() > READ_MAX {
            return Err(Error::rejected(format!(
                "{} places are too many: expected at most {READ_MAX}",
                places.len()
            )));
        }
        let mut ids: BTreeMap<u16, Vec<EntryId>> = BTreeMap::new();
        for place in places {
            ids.entry(place.partition).or_default().push(place.entry);
        }
        let parts = self.parts_there().await?;
        if parts.is_empty() {
            let lost = Settled { done: Vec::new(), lost: places.to_vec() };
            return Ok((Vec::new(), lost));
        }
        if let Some((beyond, _)) = ids.last_key_value()
            && usize::from(*beyond) >= parts.len()
        {
            return Err(Error::rejected(format!(
                "a place in partition {beyond}: expected one below {}",
                parts.len()
            )));
        }
        let of = |part: Part| ids.remove(&part.keys.partition()).map(|ids| (part, ids));
        Ok((parts.into_iter().filter_map(of).collect(), Settled::default()))
    }

    /// Becomes a member for the time of the lease, and makes the group where there is none.
    async fn tick(&self, part: &Part, token: &LeaseToken, lease: Duration) -> Result<()> {
        let backend = &self.streams.engine.backend;
        let joining = Joining {
            who: &token.0,
            lease_ms: millis(lease),
            mode: GroupMode::Any,
            start: self.from.into(),
            forget_ms: None,
            checkpoints: &[],
        };
        // Always, and first: among members with partitions of their own it would be taken for one of them.
        if let Joined::OtherMode(_) = backend.join(&part.keys, &part.group, &joining).await? {
            return Err(Error::misconfigured(format!(
                "group {} of topic {} has members with partitions of their own: expected one whose events go to any",
                self.group, self.topic
            )));
        }
        // Others have fallen as early as if this one did not wait.
        let ticking = Ticking { lease_ms: millis(lease), ..ticking(token, self.lease) };
        self.renew_and_claim(part, token, &ticking).await?;
        Ok(())
    }

    /// Lives on, and has what fell to others come due. How long from now the next of this partition is due, as far as
    /// is known.
    async fn renew_and_claim(
        &self,
        part: &Part,
        token: &LeaseToken,
        ticking: &Ticking<'_>,
    ) -> Result<Option<Duration>> {
        let backend = &self.streams.engine.backend;
        let Tick::Kept(ticked) = backend.tick(&part.keys, &part.group, ticking).await? else {
            return Ok(None);
        };
        if let Some(fallen) = &ticked.fallen {
            // What it had is parked rather than run here: a pull takes what is due, and no more than was asked.
            self.claim(part, token, ticking, fallen).await?;
            return Ok(Some(Duration::ZERO));
        }
        let next_ms = [ticked.next_due_ms, ticked.next_later_ms].into_iter().flatten().min();
        Ok(next_ms.map(|ms| Duration::from_millis(ms.saturating_sub(ticked.now_ms))))
    }

    /// What was read is the caller's for as long as was said, from now on.
    async fn begin_lease(&self, part: &Part, token: &LeaseToken) -> Result<()> {
        let (backend, ticking) = (&self.streams.engine.backend, ticking(token, self.lease));
        match backend.tick(&part.keys, &part.group, &ticking).await? {
            Tick::Kept(_) => Ok(()),
            Tick::Fallen | Tick::NoGroup => Err(Error::new(
                ErrorKind::Unavailable { maybe_applied: true },
                "the lease was over before it began: pull again",
            )),
        }
    }

    async fn claim(
        &self,
        part: &Part,
        token: &LeaseToken,
        ticking: &Ticking<'_>,
        fallen: &str,
    ) -> Result<()> {
        let backend = &self.streams.engine.backend;
        let claim = backend.claim(&part.keys, &part.group, ticking, fallen, CLAIM_MAX).await?;
        let Claim::Took { taken, .. } = claim else { return Ok(()) };
        let now = |entry: &Entry| Parking { id: entry.id, delay_ms: 0, note: None };
        let parking: Vec<Parking> = taken.entries.iter().map(now).collect();
        if !parking.is_empty() {
            backend.park(&part.keys, &part.group, &who(token), &parking).await?;
        }
        Ok(())
    }

    /// Those that are events, so many at most, and the numbers of their partitions. The others are settled, or put back.
    async fn open_all(
        &self,
        parts: &[Part],
        token: &LeaseToken,
        found: Vec<(usize, Entry)>,
        max: usize,
    ) -> Result<(Vec<PulledEvent>, BTreeSet<usize>)> {
        let (mut events, mut holding) = (Vec::new(), BTreeSet::new());
        for (at, entry) in found {
            let Some(part) = parts.get(at) else { continue };
            // As many as were asked for of each partition may have come.
            if events.len() == max {
                self.put_off(part, token, entry.id, Duration::ZERO, None).await?;
            } else if let Some(event) = self.open(part, token, entry).await? {
                events.push(event);
                holding.insert(at);
            }
        }
        Ok((events, holding))
    }

    /// Reads an entry as an event; nothing where it is not one, or not this group's, which is then settled.
    async fn open(
        &self,
        part: &Part,
        token: &LeaseToken,
        entry: Entry,
    ) -> Result<Option<PulledEvent>> {
        let backend = &self.streams.engine.backend;
        let (id, crashes) = (entry.id, entry.crashes);
        let note = Note::read(entry.note.as_deref());
        let place = Place { partition: part.keys.partition(), entry: id };
        let topic = TopicName::new(&self.topic)?;
        let read = match crashed_too_often(crashes) {
            Some(reason) => Err(reason),
            None => Event::read(&topic, place, entry.fields).map_err(ToString::to_string),
        };
        match read {
            Ok(event) if event.is_for(&self.group) => {
                let before = note.failures.saturating_add(note.retries).saturating_add(crashes);
                Ok(Some(PulledEvent { event, attempt: before.saturating_add(1) }))
            }
            Ok(_) => {
                let acking = Acking { ids: &[id], inbox: None };
                backend.ack(&part.keys, &part.group, &who(token), acking).await?;
                Ok(None)
            }
            Err(reason) => {
                let note = note.write();
                let burying = Burying { id, reason: &reason, note: &note };
                let buried = backend.bury(&part.keys, &part.group, &who(token), burying).await;
                match buried {
                    Ok(Bury::Done) => self.died(),
                    Err(error) if !is_refusal(&error) => return Err(error),
                    // It holds up no others meanwhile.
                    Ok(Bury::Full) | Err(_) => {
                        let (topic, group) = (&*self.topic, &*self.group);
                        tracing::error!(topic, group, %id, "there is no room among the dead letters: an event waits for it");
                        self.put_off(part, token, id, FULL_WAIT, Some(note)).await?;
                    }
                    Ok(Bury::NotOwn | Bury::Deleted | Bury::NoGroup) => {}
                }
                Ok(None)
            }
        }
    }

    async fn put_off(
        &self,
        part: &Part,
        token: &LeaseToken,
        id: EntryId,
        delay: Duration,
        note: Option<Bytes>,
    ) -> Result<()> {
        let parking = [Parking { id, delay_ms: millis(delay), note }];
        let backend = &self.streams.engine.backend;
        backend.park(&part.keys, &part.group, &who(token), &parking).await?;
        Ok(())
    }

    /// Settles events by what becomes of each, with what was noted of them before.
    async fn fail(
        &self,
        lease: &LeaseToken,
        places: &[Place],
        how: impl Fn(Place, Note) -> Becomes + Send + Sync,
    ) -> Result<Settled> {
        let ((parts, mut all), backend) =
            (self.by_part(places).await?, &self.streams.engine.backend);
        for (part, ids) in parts {
            let (keys, group, who) = (&part.keys, &part.group, who(lease));
            let held = match backend.notes(keys, group, &lease.0, &ids).await? {
                Reply::Ok(held) => held,
                Reply::NoGroup => Vec::new(),
            };
            let mut lost = Vec::new();
            for id in &ids {
                let Some((_, note)) = held.iter().find(|(held, _)| held == id) else {
                    lost.push(*id);
                    continue;
                };
                let place = Place { partition: keys.partition(), entry: *id };
                let is_done = match how(place, Note::read(note.as_deref())) {
                    Becomes::Park { delay, note } => {
                        let parking = [Parking { id: *id, delay_ms: millis(delay), note }];
                        let reply = backend.park(keys, group, &who, &parking).await?;
                        matches!(reply, Reply::Ok(settled) if settled.lost.is_empty())
                    }
                    Becomes::Bury { reason, note } => {
                        let burying = Burying { id: *id, reason: &reason, note: &note };
                        match backend.bury(keys, group, &who, burying).await? {
                            Bury::Done => {
                                self.died();
                                true
                            }
                            Bury::Full => {
                                return Err(Error::new(
                                    ErrorKind::Unavailable { maybe_applied: false },
                                    "the dead letters are full: redrive or remove some",
                                ));
                            }
                            Bury::NotOwn | Bury::Deleted | Bury::NoGroup => false,
                        }
                    }
                    Becomes::Ack { .. } | Becomes::Abandon => false,
                };
                if !is_done {
                    lost.push(*id);
                }
            }
            all.add(&part, &ids, &lost);
            self.leave_if_done(&part, lease).await?;
        }
        Ok(all)
    }

    /// Tells how far the group is, now and then: it has no one else who does.
    fn died(&self) {
        dead_letters(&self.topic, &self.group).increment(1);
    }

    /// A lease without events is over.
    async fn leave_if_done(&self, part: &Part, token: &LeaseToken) -> Result<()> {
        self.streams.engine.backend.leave(&part.keys, &part.group, &token.0, 0).await?;
        Ok(())
    }

    async fn leave(&self, part: &Part, token: &LeaseToken) -> Result<()> {
        let backend = &self.streams.engine.backend;
        while let Reply::Ok(Left::More) =
            backend.leave(&part.keys, &part.group, &token.0, LEAVE_MAX).await?
        {}
        Ok(())
    }
}

impl Part {
    fn all(keys: Vec<PartitionKeys>, group: &GroupName) -> Vec<Self> {
        keys.into_iter().map(|keys| Self { group: keys.group(group), keys }).collect()
    }
}

impl Settled {
    fn add(&mut self, part: &Part, ids: &[EntryId], lost: &[EntryId]) {
        for id in ids {
            let place = Place { partition: part.keys.partition(), entry: *id };
            match lost.contains(id) {
                true => self.lost.push(place),
                false => self.done.push(place),
            }
        }
    }
}

fn who(token: &LeaseToken) -> Who {
    Who::Consumer(Arc::clone(&token.0))
}

fn ticking(token: &LeaseToken, lease: Duration) -> Ticking<'_> {
    let grace_ms = millis(grace(lease));
    // What a connection was given that was gone by then is under a name that no one knows.
    Ticking { consumer: &token.0, lease_ms: millis(lease), grace_ms, whom: Whom::Everyone }
}
