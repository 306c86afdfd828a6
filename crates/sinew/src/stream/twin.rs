//! The model and the scripts are one: random steps on both stores bring the same answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::backend::{Acking, Backend as _, Burying, Reader, Store};
use super::memory::MemoryBackend;
use super::model::{
    Bury, Claim, Consumer, Dedup, Due, Entry, EntryId, Force, GroupMode, Joined, Joining, Next,
    Noted, Outgoing, Parking, READ_MAX, Read, ReadFrom, Reply, Settlement, Span, Start, Take,
    Taken, Tick, Ticking, Trimming, Who, Whom, Written, Wrote,
};
use super::redis::RedisBackend;
use crate::kernel::clock::Clock;
use crate::kernel::key::{GroupKeys, PartitionKeys, Scope};
use crate::kernel::name::{GroupName, Prefix, Tenancy, TopicName};
use crate::kernel::redis::{Link, Target};

// The same servers as the laws'.
#[allow(dead_code, unused_imports, clippy::duplicate_mod)]
#[path = "../../tests/it/world/mod.rs"]
mod world;

mod step;

use step::Step;

const ROUNDS: u64 = 40;
const STEPS: u64 = 60;
/// Longer than a round, so that nothing is over on one side only.
const LONG_MS: u64 = 600_000;
/// So many that a topic is full now and then.
const LEN_MAX: u64 = 24;
const CONSUMERS: usize = 3;

/// One of the stores, and what its entries are called there.
struct Side {
    store: Store,
    reader: Reader,
    ids: Vec<EntryId>,
    letters: Vec<EntryId>,
    fence: u64,
    born_us: u64,
}

/// What a round is about.
struct Round {
    keys: PartitionKeys,
    group: GroupKeys,
    mode: GroupMode,
    names: [Arc<str>; CONSUMERS],
    renames: u64,
}

impl Side {
    fn new(store: Store, round: &Round) -> Self {
        let reader = store.reader(std::slice::from_ref(&round.keys), round.group.name());
        Self { store, reader, ids: Vec::new(), letters: Vec::new(), fence: 0, born_us: 0 }
    }

    /// Which entry it is, in the order in which they were written.
    fn number(&self, id: EntryId) -> usize {
        self.ids.iter().position(|known| *known == id).expect("an entry that was written")
    }

    fn numbers(&self, ids: &[EntryId]) -> Vec<usize> {
        let mut numbers: Vec<usize> = ids.iter().map(|id| self.number(*id)).collect();
        numbers.sort_unstable();
        numbers
    }

    fn entries(&self, entries: &[Entry]) -> String {
        let show = |entry: &Entry| {
            let Entry { id, fields, note, crashes, due_ms } = entry;
            let fields: Vec<String> = fields.iter().map(|field| self.field(field)).collect();
            format!("{} {fields:?} {note:?} {crashes} {}", self.number(*id), due_ms.is_some())
        };
        let mut shown: Vec<String> = entries.iter().map(show).collect();
        shown.sort();
        shown.join("; ")
    }

    fn field(&self, (name, value): &(Bytes, Bytes)) -> String {
        match &**name {
            // What was redriven is called as it was before.
            b"was" => {
                let was = std::str::from_utf8(value).unwrap().parse().unwrap();
                format!("was {}", self.number(was))
            }
            _ => format!("{name:?} {value:?}"),
        }
    }

    fn noted(&self, noted: Reply<Vec<Noted>>) -> String {
        match noted {
            Reply::Ok(noted) => {
                let show = |(id, note): &Noted| format!("{} {note:?}", self.number(*id));
                noted.iter().map(show).collect::<Vec<_>>().join("; ")
            }
            Reply::NoGroup => "no group".to_owned(),
        }
    }

    fn taken(&self, taken: &Taken) -> String {
        format!("{} lost {:?}", self.entries(&taken.entries), self.numbers(&taken.lost))
    }

    fn settled(&self, settled: Reply<Settlement>) -> String {
        match settled {
            Reply::Ok(Settlement { done, lost }) => {
                format!("{done} lost {:?}", self.numbers(&lost))
            }
            Reply::NoGroup => "no group".to_owned(),
        }
    }

    /// Notes what was written since.
    async fn learn(&mut self, round: &Round) {
        let after = self.ids.last().copied().unwrap_or(EntryId::ZERO);
        let new = self.store.range(&round.keys, Span::After(after), 1_000).await.unwrap();
        self.ids.extend(new.into_iter().map(|entry| entry.id));
        let after = self.letters.last().copied().unwrap_or(EntryId::ZERO);
        let new = self.store.dead_range(&round.keys, Span::After(after), 1_000).await.unwrap();
        self.letters.extend(new.into_iter().map(|entry| entry.id));
    }

    /// What a consumer has. Asking changes nothing.
    async fn held(&self, round: &Round, consumer: &str) -> Vec<EntryId> {
        match self.store.recover(&round.keys, &round.group, consumer, &[], READ_MAX).await.unwrap()
        {
            Reply::Ok(taken) => taken.entries.into_iter().map(|entry| entry.id).collect(),
            Reply::NoGroup => Vec::new(),
        }
    }

    async fn own(&self, round: &Round, me: &Arc<str>) -> (Who, Vec<EntryId>) {
        if round.mode == GroupMode::Any {
            return (Who::Consumer(Arc::clone(me)), self.held(round, me).await);
        }
        let from = ReadFrom::PendingAfter(EntryId::ZERO);
        let read = self.store.read(&round.keys, &round.group, self.fence, from, 100).await.unwrap();
        let ids = match read {
            Read::Got(taken) => taken.entries.into_iter().map(|entry| entry.id).collect(),
            Read::Fenced | Read::NoGroup => Vec::new(),
        };
        (Who::Fence(self.fence), ids)
    }

    async fn step(&mut self, round: &Round, me: usize, step: &Step) -> String {
        let Round { keys, group, mode, names, .. } = round;
        let (store, me) = (&self.store, &names[me]);
        let ticking =
            |lease_ms| Ticking { consumer: me, lease_ms, grace_ms: 0, whom: Whom::Members };
        match step {
            Step::Publish { dedup, delay_ms, count } => {
                let event = |number: usize| Outgoing {
                    fields: vec![(Bytes::from_static(b"data"), Bytes::from(number.to_string()))],
                    dedup: dedup.map(|id| Dedup {
                        // The first two are one.
                        key: keys.dup(&format!("{id}.{}", number / 2)).unwrap(),
                        window_ms: LONG_MS,
                    }),
                    delay_ms: *delay_ms,
                };
                match store.publish(keys, 1, (0..*count).map(event).collect()).await.unwrap() {
                    Written::Done(wrote) => {
                        self.learn(round).await;
                        let show = |wrote: Wrote| match wrote {
                            Wrote::Entry(id) => format!("wrote {}", self.number(id)),
                            Wrote::Duplicate(id) => {
                                format!("is {:?}", id.map(|id| self.number(id)))
                            }
                            Wrote::Later { .. } => "later".to_owned(),
                        };
                        wrote.into_iter().map(show).collect::<Vec<_>>().join(", ")
                    }
                    other => format!("{other:?}"),
                }
            }
            Step::Promote => {
                let promoted = store.promote(keys, 100).await.unwrap();
                format!("{} {}", promoted.promoted, promoted.next_later_ms.is_some())
            }
            Step::Join { lease_ms, with_checkpoint } => {
                let id = with_checkpoint.and_then(|at| self.ids.get(at % self.ids.len().max(1)));
                let checkpoints: Vec<_> =
                    id.map(|id| super::model::Checkpoint::UpTo(*id)).into_iter().collect();
                let joining = Joining {
                    who: me,
                    lease_ms: *lease_ms,
                    mode: *mode,
                    start: Start::First,
                    forget_ms: None,
                    checkpoints: &checkpoints,
                };
                match store.join(keys, group, &joining).await.unwrap() {
                    Joined::Done { made, from, sought, born_us, last, .. } => {
                        let is_another = born_us != std::mem::replace(&mut self.born_us, born_us);
                        let last = (last > EntryId::ZERO).then(|| self.number(last));
                        let from = from.map(|id| self.number(id));
                        format!("{made:?} {from:?} {} {last:?} {is_another}", sought.is_some())
                    }
                    other @ Joined::OtherMode(_) => format!("{other:?}"),
                }
            }
            Step::Tick { lease_ms } => {
                let tick = store.tick(keys, group, &ticking(*lease_ms)).await.unwrap();
                self.ticked(tick)
            }
            Step::Read { max } => match self.reader.next(me, *max).await.unwrap() {
                Next::Got(got) => {
                    let entries: Vec<Entry> = got.into_iter().map(|(_, entry)| entry).collect();
                    self.entries(&entries)
                }
                other => format!("{other:?}"),
            },
            Step::ReadNew { max } => match store.read_new(keys, group, me, *max).await.unwrap() {
                Reply::Ok(entries) => self.entries(&entries),
                Reply::NoGroup => "no group".to_owned(),
            },
            Step::Ack { count, with_inbox } => {
                let (who, mut ids) = self.own(round, me).await;
                ids.truncate(*count);
                if ids.is_empty() {
                    return "nothing".to_owned();
                }
                let called: Vec<String> =
                    ids.iter().map(|id| format!("0:{}", self.number(*id))).collect();
                let inbox = with_inbox.then_some((called.as_slice(), LONG_MS));
                let acking = Acking { ids: &ids, inbox };
                let settled = self.settled(store.ack(keys, group, &who, acking).await.unwrap());
                let marks: Vec<&str> = called.iter().map(String::as_str).collect();
                let marks = store.inbox(group, &marks).await.unwrap();
                // One that never was a member has nothing.
                let stranger = Who::Consumer("stranger".into());
                let acking = Acking { ids: &self.ids[..self.ids.len().min(3)], inbox: None };
                let refused =
                    self.settled(store.ack(keys, group, &stranger, acking).await.unwrap());
                format!("{settled}, {marks:?}, of a stranger {refused}")
            }
            Step::Park { delay_ms } => {
                let (who, ids) = self.own(round, me).await;
                if ids.is_empty() {
                    return "nothing".to_owned();
                }
                let park = |id: &EntryId| Parking {
                    id: *id,
                    delay_ms: *delay_ms,
                    note: Some(Bytes::from_static(b"{}")),
                };
                let parking: Vec<Parking> = ids.iter().take(2).map(park).collect();
                let noted = self.noted(store.notes(keys, group, me, &self.ids).await.unwrap());
                let settled = store.park(keys, group, &who, &parking).await.unwrap();
                format!("{}, had {noted}", self.settled(settled))
            }
            Step::Bury => {
                let (who, ids) = self.own(round, me).await;
                let Some(id) = ids.first().copied() else { return "nothing".to_owned() };
                let burying = Burying { id, reason: "no good", note: b"{}" };
                match store.bury(keys, group, &who, burying).await.unwrap() {
                    Bury::Done => {
                        self.learn(round).await;
                        "buried".to_owned()
                    }
                    other => format!("{other:?}"),
                }
            }
            Step::Claim { from } => {
                let from = &names[*from];
                match store.claim(keys, group, &ticking(LONG_MS), from, 10).await.unwrap() {
                    Claim::Took { taken, has_more } => format!("{} {has_more}", self.taken(&taken)),
                    // Of a group that is not there no one is a member.
                    Claim::Refused | Claim::NoGroup => "refused".to_owned(),
                }
            }
            Step::Due => match store.due(keys, group, me, 10).await.unwrap() {
                Due::Took { taken, next_due_ms, .. } => {
                    self.learn(round).await;
                    format!("{} {}", self.taken(&taken), next_due_ms.is_some())
                }
                Due::Refused | Due::NoGroup => "refused".to_owned(),
            },
            Step::Leave { max } => {
                format!("{:?}", store.leave(keys, group, me, *max).await.unwrap())
            }
            Step::Take => match store.take(keys, group, me, LONG_MS).await.unwrap() {
                Take::Got { fence, pending, strangers_left } => {
                    assert!(fence > self.fence, "a newer one");
                    self.fence = fence;
                    format!("took, {pending} pending, {strangers_left} left")
                }
                Take::Held => "held".to_owned(),
                Take::NoGroup => "no group".to_owned(),
            },
            Step::Hold => match store.hold(keys, group, self.fence, LONG_MS).await.unwrap() {
                Tick::Fallen | Tick::NoGroup => "refused".to_owned(),
                kept @ Tick::Kept(_) => self.ticked(kept),
            },
            Step::ReadOwn { is_new } => {
                let after = ReadFrom::PendingAfter(EntryId::ZERO);
                let from = if *is_new { ReadFrom::New } else { after };
                match store.read(keys, group, self.fence, from, 3).await.unwrap() {
                    Read::Got(taken) => self.taken(&taken),
                    // No one owns a partition for a group that is not there.
                    Read::Fenced | Read::NoGroup => "refused".to_owned(),
                }
            }
            Step::Release => format!("{}", store.release(keys, group, self.fence).await.unwrap()),
            Step::Trim { forget_ms } => {
                // It only says what it would keep: how much goes at once is each store's own.
                let of =
                    |forget_ms| Trimming { keep_ms: Some(LONG_MS), forget_ms: Some(forget_ms) };
                let trim = store.trim(keys, of(*forget_ms)).await.unwrap();
                // What is published next is not to rob the groups: what they have then is each store's own, too.
                store.trim(keys, of(LONG_MS)).await.unwrap();
                let floor = trim.floor.filter(|floor| *floor > EntryId::ZERO);
                let floor = floor.map(|floor| self.number(floor));
                format!("{floor:?} {:?} {:?}", trim.held_by, trim.forgotten)
            }
            Step::Redrive => {
                // One of them is named twice.
                let first = self.letters.first().copied();
                let letters: Vec<EntryId> =
                    self.letters.iter().take(2).copied().chain(first).collect();
                let redriven = store.redrive(keys, group, &letters).await.unwrap();
                self.learn(round).await;
                format!("{redriven:?}")
            }
            Step::DropDead => {
                let last = self.letters.last().copied();
                let letters: Vec<EntryId> = last.into_iter().flat_map(|id| [id, id]).collect();
                format!("{}", store.drop_dead(keys, group, &letters).await.unwrap())
            }
            Step::Seek { how, to_start } => {
                let to = if *to_start { Start::First } else { Start::Next };
                format!("{:?}", store.seek(keys, group, to, *how).await.unwrap())
            }
            Step::Forget => format!("{:?}", store.forget(keys, group, Force::No).await.unwrap()),
            Step::Look => self.look(round).await,
        }
    }

    fn ticked(&self, tick: Tick) -> String {
        let Tick::Kept(ticked) = tick else { return format!("{tick:?}") };
        let probe = ticked.checkpoint.map(super::model::Checkpoint::probe);
        let probe = probe.filter(|id| *id > EntryId::ZERO).map(|id| self.number(id));
        format!(
            "{probe:?}, {} mine, {} pending, due {}, later {}, fallen {}, oldest {}, sought {}",
            ticked.mine,
            ticked.pending,
            ticked.next_due_ms.is_some(),
            ticked.next_later_ms.is_some(),
            ticked.fallen.is_some(),
            ticked.oldest_ms.is_some(),
            ticked.sought.is_some()
        )
    }

    async fn look(&self, round: &Round) -> String {
        let look = self.store.look(&round.keys).await.unwrap().expect("it was declared");
        let groups = look.groups.into_iter().map(|group| {
            let numbers = (group.held, group.parked, group.dead, group.consumers);
            format!("{} {:?} {numbers:?}", group.name, group.mode)
        });
        let groups: Vec<String> = groups.collect();
        let last = look.last.map(|id| self.number(id));
        if round.mode == GroupMode::ByKey {
            return format!("{:?} {last:?} {groups:?}", (look.len, look.delayed, look.dead));
        }
        let consumers = self.store.consumers(&round.keys, &round.group).await.unwrap();
        // Redis knows names of which nothing is known here.
        let is_known = |one: &Consumer| one.held > 0 || one.lease_left_ms.is_some();
        let consumers = consumers.into_iter().filter(is_known).map(|one| {
            format!("{} {} {:?}", one.name, one.held, one.oldest.map(|id| self.number(id)))
        });
        let mut consumers: Vec<String> = consumers.collect();
        consumers.sort();
        let numbers = (look.len, look.delayed, look.dead, look.lost);
        format!("{numbers:?} {last:?} {groups:?} {consumers:?}")
    }
}

pub(super) async fn redis() -> (world::Server, Link) {
    let server = tokio::task::spawn_blocking(world::start_redis).await.unwrap();
    let target = Target::parse(&format!("redis://127.0.0.1:{}", server.port)).unwrap();
    let link = Link::open(&target, Duration::from_secs(10), Vec::new()).unwrap();
    link.until_up().await.unwrap();
    (server, link)
}

fn round(topic: &str, group: &str, mode: GroupMode) -> Round {
    let scope = Scope::unscoped(&Prefix::default(), Tenancy::Multi);
    let keys = scope.stream(&TopicName::new(topic).unwrap(), 0);
    let group = keys.group(&GroupName::new(group).unwrap());
    Round { keys, group, mode, names: ["a", "b", "c"].map(Arc::from), renames: 0 }
}

fn sides(link: &Link, round: &Round) -> [Side; 2] {
    let model = Store::Memory(MemoryBackend::new(Clock::system(), 64 << 20));
    let scripts = Store::Redis(RedisBackend::new(link.clone()));
    [Side::new(model, round), Side::new(scripts, round)]
}

impl Side {
    /// Declares the topic, publishes so many events, and has two members join.
    async fn begin(&mut self, round: &Round, count: usize) {
        self.store.declare(&round.keys, None, None, None).await.unwrap();
        self.step(round, 0, &Step::Publish { dedup: None, delay_ms: 0, count }).await;
        for me in [0, 1] {
            let join = Step::Join { lease_ms: LONG_MS, with_checkpoint: None };
            self.step(round, me, &join).await;
        }
    }

    async fn ack_all(&self, round: &Round, who: Who) -> String {
        let acking = Acking { ids: &self.ids, inbox: None };
        self.settled(self.store.ack(&round.keys, &round.group, &who, acking).await.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sought_over_is_refused_to_whoever_had_it() {
    let (_server, link) = redis().await;
    let seek = Step::Seek { how: Force::Yes, to_start: true };
    let shared = round("shared", "billing", GroupMode::Any);
    for mut side in sides(&link, &shared) {
        side.begin(&shared, 3).await;
        side.step(&shared, 0, &Step::Read { max: 3 }).await;
        assert_eq!(side.step(&shared, 0, &seek).await, "Done");
        side.step(&shared, 1, &Step::Read { max: 3 }).await;
        let [former, present] = [0, 1].map(|at| Who::Consumer(Arc::clone(&shared.names[at])));
        assert_eq!(side.ack_all(&shared, former).await, "0 lost [0, 1, 2]");
        assert_eq!(side.ack_all(&shared, present).await, "3 lost []");
    }
    let owned = round("owned", "billing", GroupMode::ByKey);
    for mut side in sides(&link, &owned) {
        side.begin(&owned, 3).await;
        side.step(&owned, 0, &Step::Take).await;
        side.step(&owned, 0, &Step::ReadOwn { is_new: true }).await;
        let former = Who::Fence(side.fence);
        assert_eq!(side.step(&owned, 0, &seek).await, "Done");
        assert_eq!(side.step(&owned, 0, &Step::Hold).await, "refused");
        assert_eq!(side.step(&owned, 1, &Step::Take).await, "took, 0 pending, 0 left");
        side.step(&owned, 1, &Step::ReadOwn { is_new: true }).await;
        assert_eq!(side.ack_all(&owned, former).await, "0 lost [0, 1, 2]");
        assert_eq!(side.ack_all(&owned, Who::Fence(side.fence)).await, "3 lost []");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_stay_whoever_has_read_them_and_are_of_their_group() {
    let (_server, link) = redis().await;
    let living = round("orders", "billing", GroupMode::Any);
    let dead = round("orders.dead", "alarms", GroupMode::Any);
    for mut side in sides(&link, &living) {
        side.begin(&living, 2).await;
        side.step(&living, 0, &Step::Read { max: 2 }).await;
        for _ in 0..2 {
            assert_eq!(side.step(&living, 0, &Step::Bury).await, "buried");
        }
        let mut reading = Side::new(side.store, &dead);
        reading.learn(&dead).await;
        let join = Step::Join { lease_ms: LONG_MS, with_checkpoint: None };
        reading.step(&dead, 0, &join).await;
        reading.step(&dead, 0, &Step::Read { max: 2 }).await;
        // Now it has finished the first of them.
        assert_eq!(reading.step(&dead, 0, &Step::Bury).await, "buried");
        let trimming = Trimming { keep_ms: Some(0), forget_ms: Some(LONG_MS) };
        let trim = reading.store.trim(&dead.keys, trimming).await.unwrap();
        assert_eq!(trim.removed, 0);
        for (round, group, count) in [(&living, "billing", 2), (&dead, "alarms", 1)] {
            let letters = reading.store.dead_range(&round.keys, Span::All, 9).await.unwrap();
            let fields = letters.iter().flat_map(|letter| &letter.fields);
            let of: Vec<_> = fields.filter(|(name, _)| name == "dl-group").collect();
            assert!(of.len() == count && of.iter().all(|(_, of)| of == group), "{of:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_publishes_forgets_a_group_when_those_who_read_say_so() {
    let (_server, link) = redis().await;
    let round = round("full", "billing", GroupMode::Any);
    for mut side in sides(&link, &round) {
        side.begin(&round, 3).await;
        side.store.declare(&round.keys, None, Some(3), None).await.unwrap();
        let publish = Step::Publish { dedup: None, delay_ms: 0, count: 1 };
        // The last one says nothing, and goes by the one before.
        for (forget_ms, is_forgotten) in [(Some(LONG_MS), false), (Some(0), true), (None, true)] {
            tokio::time::sleep(Duration::from_millis(3)).await;
            let trimming = Trimming { keep_ms: Some(LONG_MS), forget_ms };
            let trim = side.store.trim(&round.keys, trimming).await.unwrap();
            assert_eq!(trim.forgotten.len(), usize::from(is_forgotten));
            let groups = side.store.look_at_groups(&round.keys).await.unwrap();
            assert_eq!(groups[0].is_forgotten, is_forgotten);
            let published = side.step(&round, 0, &publish).await;
            assert_eq!(published.starts_with("wrote"), is_forgotten, "{published}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scripts_answer_as_the_model_does() {
    let (_server, link) = redis().await;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut done, mut refused) = (0_u64, 0_u64);
    for number in 0..ROUNDS {
        let mode = if number % 3 == 2 { GroupMode::ByKey } else { GroupMode::Any };
        let mut round = round(&format!("round{number}"), "billing", mode);
        let mut sides = sides(&link, &round);
        for side in &sides {
            let declared =
                side.store.declare(&round.keys, None, Some(LEN_MAX), None).await.unwrap();
            assert_eq!((declared.partitions, declared.len_max), (1, LEN_MAX));
            let other = side.store.declare(&round.keys, Some(2), Some(9), Some(9)).await.unwrap();
            assert_eq!(other, declared, "another number changes nothing");
            let event = Outgoing { fields: Vec::new(), dedup: None, delay_ms: 0 };
            let other = side.store.publish(&round.keys, 2, vec![event]).await.unwrap();
            assert_eq!(other, Written::OtherPartitions(1));
        }
        for at in 0..STEPS {
            let me = random.usize(..CONSUMERS);
            let mut step = Step::random(&mut random, mode);
            if at < CONSUMERS as u64 {
                step = Step::Join { lease_ms: LONG_MS, with_checkpoint: None };
            }
            if matches!(step, Step::Read { .. }) && !has_unread(&sides[0], &round).await {
                continue;
            }
            let modelled = sides[0].step(&round, me, &step).await;
            let scripted = sides[1].step(&round, me, &step).await;
            assert_eq!(modelled, scripted, "{step:?} of {me}, step {at} of round {number}");
            let is_fallen = modelled == "Fallen" && mode == GroupMode::Any;
            done += 1;
            refused += u64::from(is_fallen || modelled == "refused");
            if is_fallen {
                rename(&mut sides, &mut round, me).await;
            }
            for side in &mut sides {
                side.learn(&round).await;
            }
            // A lease or a delay of a moment is over on both sides, or on neither.
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }
    println!("{done} steps compared, {refused} of them refused");
    assert!(done > ROUNDS * STEPS / 2 && refused > ROUNDS, "{done}, {refused}");
}

/// A read waits where there is nothing.
async fn has_unread(side: &Side, round: &Round) -> bool {
    let groups = side.store.look_at_groups(&round.keys).await.unwrap();
    groups.iter().any(|group| group.waiting.n > 0)
}

async fn rename(sides: &mut [Side; 2], round: &mut Round, me: usize) {
    round.renames += 1;
    let new: Arc<str> = format!("{}{}", &round.names[me][..1], round.renames).into();
    let mut moved = Vec::new();
    for side in &*sides {
        let old = &round.names[me];
        let reply = side.store.rename(&round.keys, &round.group, old, &new, LONG_MS).await.unwrap();
        moved.push(match reply {
            Reply::Ok(ids) => side.numbers(&ids),
            Reply::NoGroup => Vec::new(),
        });
    }
    assert_eq!(moved[0], moved[1], "renamed {me}");
    round.names[me] = new;
}
