//! Who owns which partition of an ordered group: those members that live share them by rendezvous, so that whoever
//! comes or goes moves as few as can be.
//!
//! Members agree on nothing: each looks who is there, and wants its own share. One that does not want a partition
//! any more lets what runs end and releases it; one that wants it asks until it is free. What keeps two from having it is
//! the store's fence, whatever they believe.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use metrics::Gauge;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::again::pause;
use super::backend::Backend as _;
use super::checkpoint::{Checkpoints, is_another_stream};
use super::engine::{Engine, Moves};
use super::held::{Held, Load};
use super::lags::OwnLag;
use super::model::{
    Checkpoint, EntryId, GroupMode, Joined, Joining, LEAVE_MAX, LEAVE_TIME_MAX, Left, Made, Reply,
    Take, Tick, Ticking, Whom, millis, owner_of,
};
use super::owner::{Crew, End, Owner, Part, owned_gauge, trusted};
use super::run::{Finished, Runs};
use super::subscribe::Settings;
use super::tally::{Lost, Tally};
use crate::kernel::error::{Error, Result};
use crate::kernel::key::{GroupKeys, PartitionKeys};

/// How often a member looks who is there.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often one that wants a partition asks whether it is free.
const TAKE_EVERY: Duration = Duration::from_millis(50);

/// Whether a partition is to be owned by this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Wanted,
    Unwanted,
    /// Nor ever again.
    Closed,
}

/// A partition, as a member has it whether it owns it or not.
struct Seat {
    number: u16,
    keys: PartitionKeys,
    group: GroupKeys,
    // A mutex: what was finished in a stream says nothing of the one that takes its place.
    held: Mutex<Arc<Held>>,
    // A mutex: known by its sitter alone. When the group was made, in µs.
    born_us: Mutex<Option<u64>>,
    load: Arc<Load>,
}

/// Of what stream a group is that was joined.
enum Stream {
    Known,
    Another,
}

/// What a member is told that joins.
struct Entered {
    made: Made,
    from: Option<EntryId>,
    sought: Option<EntryId>,
    born_us: u64,
    last: EntryId,
}

/// Counts a partition for as long as it is owned.
struct Counted(Gauge);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// A member of an ordered group.
struct Member {
    crew: Arc<Crew>,
    seats: Vec<Arc<Seat>>,
    name: Arc<str>,
}

/// Runs an ordered subscription until `shutdown`, or until an error that waiting does not help.
///
/// *Cancellation*: its tasks end, and others have its partitions once their leases are over.
pub(super) async fn run(
    engine: Arc<Engine>,
    settings: Arc<Settings>,
    partitions: &[PartitionKeys],
    checkpoints: Checkpoints,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<Finished> {
    let load = Arc::new(Load::default());
    let seats = partitions.iter().map(|keys| {
        let held = Held::new(engine.clock.clone(), Arc::clone(&load));
        Arc::new(Seat {
            number: keys.partition(),
            keys: keys.clone(),
            group: keys.group(&settings.group),
            held: Mutex::new(held),
            born_us: Mutex::new(None),
            load: Arc::clone(&load),
        })
    });
    let seats: Vec<_> = seats.collect();
    let name = settings.new_name()?;
    let lag = OwnLag::new(&engine.lags, settings.names(), &name);
    let crew = Arc::new(Crew {
        runs: Arc::new(Runs::new(Arc::clone(&settings), Arc::clone(&engine))),
        tally: Arc::new(Tally::new(&settings, lag)),
        checkpoints: Arc::new(checkpoints),
        engine,
        settings,
    });
    let (wishes, wished): (Vec<_>, Vec<_>) =
        seats.iter().map(|_| watch::channel(Wish::Unwanted)).unzip();
    let mut owners = JoinSet::new();
    for (seat, wish) in seats.iter().zip(wished) {
        owners.spawn(sit(Arc::clone(&crew), Arc::clone(seat), Arc::clone(&name), wish));
    }
    let member = Member { crew: Arc::clone(&crew), seats, name };
    let outcome = tokio::select! {
        error = member.keep(&wishes) => Err(error),
        Some(ended) = owners.join_next() => match ended {
            Ok(Err(error)) => Err(error),
            // They end with this alone.
            Ok(Ok(())) | Err(_) => Ok(()),
        },
        () = crew.checkpoints.keep_on_disk() => Ok(()),
        () = shutdown => Ok(()),
    };
    member.leave(&wishes, owners).await;
    outcome.map(|()| crew.tally.finished())
}

impl Member {
    /// Says that it lives, and wants its share. Ends with an error that waiting does not help.
    async fn keep(&self, wishes: &[watch::Sender<Wish>]) -> Error {
        let mut must_join = true;
        loop {
            match self.look(wishes, &mut must_join).await {
                Ok(()) => tokio::time::sleep(LOOK_EVERY).await,
                Err(error) if error.is_final() => return error,
                Err(error) => {
                    let (topic, group) = self.crew.settings.names();
                    tracing::debug!(topic, group, %error, "a member could not look who is there: trying again");
                    pause().await;
                }
            }
        }
    }

    async fn look(&self, wishes: &[watch::Sender<Wish>], must_join: &mut bool) -> Result<()> {
        let Crew { engine, settings, .. } = &*self.crew;
        // Those who share are members of the first partition.
        let Some(first) = self.seats.first() else { return Ok(()) };
        if *must_join {
            // What it means for the partition is for whoever sits there.
            enter(&self.crew, first, &self.name, &self.crew.checkpoints.of(first.number)).await?;
            *must_join = false;
        }
        let ticking = Ticking {
            consumer: &self.name,
            lease_ms: millis(settings.lease),
            grace_ms: millis(settings.grace()),
            whom: Whom::Members,
        };
        match engine.backend.tick(&first.keys, &first.group, &ticking).await? {
            Tick::Kept(_) => {}
            Tick::NoGroup => {
                *must_join = true;
                return Ok(());
            }
            // No one takes an ordered member for dead, but people may.
            Tick::Fallen => {
                return Err(Error::misconfigured(format!(
                    "member {} of an ordered group was removed by hand: start it again",
                    self.name
                )));
            }
        }
        let members = engine.backend.members(&first.group).await?;
        for (seat, wish) in self.seats.iter().zip(wishes) {
            let owner = owner_of(members.iter().map(String::as_str), seat.number);
            let wanted = match owner == Some(&*self.name) {
                true => Wish::Wanted,
                false => Wish::Unwanted,
            };
            wish.send_if_modified(|wish| std::mem::replace(wish, wanted) != wanted);
        }
        Ok(())
    }

    /// Others want its share from now on; it gives up each partition once what runs there has ended.
    async fn leave(&self, wishes: &[watch::Sender<Wish>], mut owners: JoinSet<Result<()>>) {
        let Crew { engine, settings, runs, checkpoints, .. } = &*self.crew;
        for wish in wishes {
            wish.send_replace(Wish::Closed);
        }
        // Who sits anywhere is a member there, for all who would share its events another way.
        let leave = |seat: &Arc<Seat>| {
            let (seat, name) = (Arc::clone(seat), Arc::clone(&self.name));
            async move {
                let Seat { keys, group, .. } = &*seat;
                while let Ok(Reply::Ok(Left::More)) =
                    engine.backend.leave(keys, group, &name, LEAVE_MAX).await
                {}
            }
        };
        let say = join_all(self.seats.iter().map(leave));
        let drained = async { while owners.join_next().await.is_some() {} };
        let time_max = settings.drain.saturating_add(LEAVE_TIME_MAX);
        let both = async {
            let said = tokio::time::timeout(LEAVE_TIME_MAX, say);
            let _ = join(said, drained).await;
        };
        let _ = tokio::time::timeout(time_max, both).await;
        // What a handler does after this is not waited for: it may not even listen.
        let _ = tokio::time::timeout(LEAVE_TIME_MAX, runs.abort()).await;
        checkpoints.write().await;
    }
}

/// Owns a partition whenever it is wanted. Ends with an error that waiting does not help, or once it is never to be
/// owned again.
async fn sit(
    crew: Arc<Crew>,
    seat: Arc<Seat>,
    name: Arc<str>,
    mut wish: watch::Receiver<Wish>,
) -> Result<()> {
    let Crew { engine, settings, .. } = &*crew;
    let (mut moves, mut must_join, mut lost) = (Moves::of(engine), true, 0);
    loop {
        if *wish.borrow() != Wish::Wanted {
            // Its next owner says how it stands.
            crew.tally.forget(seat.number);
            crew.tally.lost(std::mem::take(&mut lost), Lost::Lease);
        }
        match wish.wait_for(|wish| *wish != Wish::Unwanted).await {
            Ok(wish) if *wish == Wish::Wanted => {}
            _ => return Ok(()),
        }
        // Another primary may be behind: the group is moved forward before anything is read.
        must_join |= moves.have_come();
        if must_join {
            match sit_down(&crew, &seat, &name).await {
                Ok(Stream::Known) => crew.tally.lost(std::mem::take(&mut lost), Lost::Lease),
                // They were among the pending.
                Ok(Stream::Another) => lost = 0,
                Err(error) if error.is_final() => return Err(error),
                Err(_) => {
                    pause().await;
                    continue;
                }
            }
            must_join = false;
            crew.tally.forget(seat.number);
        }
        let (sent, lease_ms) = (engine.clock.now(), millis(settings.lease));
        match engine.backend.take(&seat.keys, &seat.group, &name, lease_ms).await {
            // What another mode left is moved over in steps.
            Ok(Take::Got { strangers_left: 1.., .. }) => {}
            Ok(Take::Got { fence, .. }) => {
                let until = sent.after(trusted(settings.lease));
                let owned = owned_gauge(settings);
                owned.increment(1.0);
                let _counted = Counted(owned);
                let owner = Owner::new(Arc::clone(&crew), seat.part(), fence, until);
                match owner.run(wish.clone(), moves.clone()).await {
                    (End::Released, _) => {}
                    // Whether the stream went with it, joining tells.
                    (End::Lost | End::Gone, some) => {
                        lost += some;
                        must_join = true;
                    }
                    (End::Failed(error), some) => {
                        crew.tally.lost(some, Lost::Lease);
                        return Err(error);
                    }
                }
            }
            Ok(Take::Held) => tokio::time::sleep(TAKE_EVERY).await,
            Ok(Take::NoGroup) => must_join = true,
            Err(error) if error.is_final() => return Err(error),
            Err(_) => pause().await,
        }
    }
}

/// Makes the group where there is none, at its checkpoint.
async fn enter(crew: &Crew, seat: &Seat, name: &str, known: &[Checkpoint]) -> Result<Entered> {
    let Crew { engine, settings, .. } = crew;
    let joining = Joining {
        who: name,
        lease_ms: millis(settings.lease),
        mode: GroupMode::ByKey,
        start: settings.start,
        forget_ms: settings.forget_after.map(millis),
        checkpoints: known,
    };
    let (topic, group) = settings.names();
    match engine.backend.join(&seat.keys, &seat.group, &joining).await? {
        Joined::OtherMode(mode) => Err(Error::misconfigured(format!(
            "group {group} of topic {topic} has members that live and share its events as {}: expected none, or ordered_by_key()",
            mode.name()
        ))),
        Joined::Done { made, from, sought, born_us, last, .. } => {
            Ok(Entered { made, from, sought, born_us, last })
        }
    }
}

/// Joins as one who is to own the partition, and counts what was lost.
async fn sit_down(crew: &Crew, seat: &Seat, name: &str) -> Result<Stream> {
    let Crew { engine, settings, checkpoints, tally, .. } = crew;
    let (topic, group) = settings.names();
    let known = checkpoints.of(seat.number);
    let Entered { made, from, sought, born_us, last } = enter(crew, seat, name, &known).await?;
    let was_born_us = seat.born_us.lock().replace(born_us);
    if is_another_stream(was_born_us, born_us, made, from, &known) {
        // Of its former owner alone: others know of none.
        let lost = tally.forget(seat.number);
        let partition = seat.number;
        if lost == 0 {
            tracing::warn!(
                topic,
                group,
                partition,
                "the stream is another: its group begins with it"
            );
        } else {
            tracing::error!(
                topic,
                group,
                partition,
                lost,
                "the stream is gone: its group begins with the one that takes its place"
            );
        }
        tally.lost(usize::try_from(lost).unwrap_or(usize::MAX), Lost::Flushed);
        checkpoints.forget(seat.number);
        // What was finished in the one before says nothing of it.
        *seat.held.lock() = Held::new(engine.clock.clone(), Arc::clone(&seat.load));
        return Ok(Stream::Another);
    }
    seat.held.lock().joined(sought, last);
    if let Some(from) = from
        && made != Made::Nothing
    {
        tracing::warn!(topic, group, partition = seat.number, %from, ?made, "the group goes on at its checkpoint");
    }
    Ok(Stream::Known)
}

impl Seat {
    fn part(&self) -> Part {
        let (keys, group) = (self.keys.clone(), self.group.clone());
        Part { number: self.number, keys, group, held: Arc::clone(&self.held.lock()) }
    }
}
