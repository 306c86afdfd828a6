//! The model and the scripts are one: random steps on both stores bring the same answers.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::backend::{Backend as _, Ending, Store};
use super::memory::MemoryBackend;
use super::model::{
    After, Body, Callbacks, Declaring, Due, End, Fired, Firing, Found, Grain, Held, JobId, Joined,
    Joining, Kept, Outgoing, QueueLook, Record, Settle, Shelf, Taken, Telling, Told, Took, Turn,
    Written,
};
use super::redis::RedisBackend;
use crate::kernel::clock::Clock;
use crate::kernel::key::{QueueKeys, Scope};
use crate::kernel::name::{Prefix, QueueName, Tenancy};
use crate::kernel::redis::{Link, Target};

// The same servers as the laws'.
#[allow(dead_code, unused_imports, clippy::duplicate_mod)]
#[path = "../../tests/it/world/mod.rs"]
mod world;

mod bounded;
mod leases;
mod step;

use step::{Sent, Step, new_id, plain};

const ROUNDS: u64 = 40;
const STEPS: u64 = 90;
/// Longer than a round, so that nothing is over on one side only.
const LONG_MS: u64 = 600_000;
/// So many that a queue is full now and then.
const LEN_MAX: u64 = 24;
/// In one of so many rounds, leases are over while it goes on.
const RECLAIM_IN: u64 = 8;
/// Longer than what a lane is left after its lease.
const OVER: Duration = Duration::from_millis(2_100);

/// One of the stores, and the fences of what was taken there.
struct Side {
    store: Store,
    fences: HashMap<(String, JobId), u64>,
    last_fence: u64,
    /// What the last step took.
    took: Vec<JobId>,
}

/// What a round is about.
struct Round {
    keys: QueueKeys,
    lanes: Vec<Lane>,
    renames: u64,
    lease_ms: u64,
    ids: Vec<JobId>,
    buried: Vec<JobId>,
    batches: Vec<JobId>,
    /// What was enqueued last.
    last: Vec<Outgoing>,
}

#[derive(Default)]
struct Lane {
    name: String,
    is_joined: bool,
    request: u64,
    held: Vec<JobId>,
    last: Option<Sent>,
}

impl Side {
    fn new(store: Store) -> Self {
        Self { store, fences: HashMap::new(), last_fence: 0, took: Vec::new() }
    }

    fn settle(&self, lane: &str, ending: &step::Ending) -> Settle {
        let fence = self.fences.get(&(lane.to_owned(), ending.id)).copied().unwrap_or(1);
        let fence = fence + u64::from(ending.is_wrong);
        Settle { id: ending.id, fence, end: ending.end.clone() }
    }

    async fn turn(&mut self, keys: &QueueKeys, lane: &str, request: u64, sent: &Sent) -> String {
        let settles: Vec<Settle> =
            sent.endings.iter().map(|ending| self.settle(lane, ending)).collect();
        let turn = Turn {
            lane,
            request,
            want: sent.want,
            takes_suspect: sent.takes_suspect,
            settles: &settles,
            counts: &sent.counts,
        };
        let took = self.store.turn(keys, &turn).await.unwrap();
        self.took(lane, took)
    }

    fn took(&mut self, lane: &str, took: Held<Took>) -> String {
        let Held::Kept(mut took) = took else { return "Fallen".to_owned() };
        self.last_fence = self.last_fence.max(took.fence);
        for Taken { id, .. } in &took.jobs {
            self.fences.insert((lane.to_owned(), *id), took.fence);
            self.took.push(*id);
        }
        took.stop.sort_unstable();
        let jobs = took.jobs.iter().map(|job| format!("{} {}", job.id, record(&job.record)));
        let jobs: Vec<String> = jobs.collect();
        let Took { lost, stop, has_more, is_paused, is_owing, has_suspects, .. } = took;
        let bits = [has_more, is_paused, is_owing, has_suspects, took.next_due_ms.is_some()];
        format!("{jobs:?} lost {lost:?} stop {stop:?} {bits:?}")
    }

    async fn recurring(&self, keys: &QueueKeys) -> Vec<Kept> {
        let (mut kept, _) = self.store.recurring(keys).await.unwrap();
        kept.sort_by(|one, other| one.name.cmp(&other.name));
        kept
    }

    async fn step(&mut self, round: &Round, lane: usize, step: &Step) -> String {
        self.took.clear();
        let (keys, lane) = (&round.keys, &round.lanes[lane]);
        let name = lane.name.as_str();
        match step {
            Step::Turn(sent) => {
                let before = self.last_fence;
                let told = self.turn(keys, name, lane.request, sent).await;
                assert!(self.took.is_empty() || self.last_fence > before, "each is a newer one");
                return told;
            }
            Step::Again => match &lane.last {
                Some(sent) => return self.turn(keys, name, lane.request, sent).await,
                None => return "nothing".to_owned(),
            },
            Step::Finish(ending) => {
                let sent = Sent { endings: vec![ending.clone()], ..Sent::default() };
                return self.turn(keys, name, 0, &sent).await;
            }
            _ => {}
        }
        let store = &self.store;
        match step {
            Step::Enqueue(jobs) => match store.enqueue(keys, 1, jobs.clone()).await.unwrap() {
                Written::Done(wrote) => format!("{wrote:?}"),
                other => format!("{other:?}"),
            },
            Step::Join { slots, lease_ms } => {
                let joining =
                    Joining { lane: name, label: "host:7", slots: *slots, lease_ms: *lease_ms };
                match store.join(keys, joining).await.unwrap() {
                    Joined::Done { .. } => "joined".to_owned(),
                    other => format!("{other:?}"),
                }
            }
            Step::Renew { lease_ms } => {
                match store.renew(keys, name, *lease_ms, &[]).await.unwrap() {
                    Held::Kept(mut renewed) => {
                        renewed.stop.sort_unstable();
                        let is_due = renewed.next_due_ms.is_some();
                        format!("{:?} {} {is_due}", renewed.stop, renewed.is_owing)
                    }
                    Held::Fallen => "Fallen".to_owned(),
                }
            }
            Step::Leave => {
                store.leave(keys, name).await.unwrap();
                "left".to_owned()
            }
            Step::Tell { id, is_wrong, has_progress, lines } => {
                let fence = self.fences.get(&(name.to_owned(), *id)).copied().unwrap_or(1);
                let line = Bytes::from_static(b"[1,\"step\"]");
                let telling = Telling {
                    lane: name,
                    id: *id,
                    fence: fence + u64::from(*is_wrong),
                    progress: has_progress.then_some(&b"{\"done\":1}"[..]),
                    log: &vec![line; *lines],
                };
                format!("{:?}", store.tell(keys, telling).await.unwrap())
            }
            Step::Cancel(id) => format!("{:?}", store.cancel(keys, *id).await.unwrap()),
            Step::Pause(is_paused) => {
                store.pause(keys, *is_paused).await.unwrap();
                "paused".to_owned()
            }
            Step::Declare(declaring) => look(&store.declare(keys, *declaring).await.unwrap()),
            Step::Find(id) => {
                let job = store.find(keys, *id).await.unwrap();
                let done = store.done(keys, *id).await.unwrap().map(|(_, line)| line);
                format!("{:?} {done:?}", job.as_ref().map(found))
            }
            Step::FindAwaiting(id) => {
                let job = store.find_awaiting(keys, *id, LONG_MS).await.unwrap();
                format!("{:?}", job.as_ref().map(found))
            }
            Step::Redrive(ids) => format!("{:?}", store.redrive(keys, ids).await.unwrap()),
            Step::DropDead(ids) => format!("{:?}", store.drop_dead(keys, ids).await.unwrap()),
            Step::OpenBatch(batch) => {
                let (success, complete) = (Bytes::from_static(b"[s]"), Bytes::from_static(b"[c]"));
                let callbacks = Callbacks { success: Some(success), complete: Some(complete) };
                format!("{:?}", store.open_batch(keys, *batch, &callbacks).await.unwrap())
            }
            Step::SealBatch(batch) => {
                format!("{:?}", store.seal_batch(keys, *batch).await.unwrap())
            }
            Step::Owed => format!("{:?}", store.owed(keys).await.unwrap()),
            Step::Paid => {
                let owed = store.owed(keys).await.unwrap();
                let members: Vec<String> = owed.iter().map(|owed| owed.member.clone()).collect();
                store.paid(keys, &members).await.unwrap();
                format!("{owed:?}")
            }
            Step::PutRecurring { name, definition, schedule, expected } => {
                let (definition, schedule) = ([b'0' + definition], format!("schedule {schedule}"));
                let put = store.put_recurring(keys, name, &definition, &schedule, *expected).await;
                format!("{:?}", put.unwrap().as_ref().map(kept))
            }
            Step::DropRecurring(name) => {
                format!("{}", store.drop_recurring(keys, name).await.unwrap())
            }
            Step::Fire { name, after_ms, is_other, overlap, job } => {
                let known = self.recurring(keys).await;
                let known = known.iter().find(|known| known.name == *name);
                let firing = Firing {
                    name,
                    revision: known.map_or(1, |known| known.revision) + u64::from(*is_other),
                    tick_ms: known.map_or(0, |known| known.last_tick_ms) + after_ms,
                    overlap: *overlap,
                    job: job.clone(),
                };
                match store.fire(keys, &firing).await.unwrap() {
                    Fired::Early { .. } => "early".to_owned(),
                    other => format!("{other:?}"),
                }
            }
            Step::Look => self.look(round).await,
            Step::Audit => format!("{:?}", store.audit(keys, 0).await.unwrap()),
            Step::Turn(_) | Step::Again | Step::Finish(_) => unreachable!("done before"),
        }
    }

    /// All that people are told.
    async fn look(&self, round: &Round) -> String {
        let (keys, store) = (&round.keys, &self.store);
        let mut told = vec![look(&store.look(keys).await.unwrap().expect("it was declared"))];
        for one in store.lanes(keys).await.unwrap() {
            told.push(format!("{} {} {} {}", one.lane, one.worker, one.slots, one.running));
        }
        told[1..].sort();
        let fixed = [Shelf::Suspect, Shelf::Scheduled, Shelf::Running, Shelf::Dead, Shelf::Kept];
        let of_trouble =
            [Shelf::DeadOf("f1".to_owned()), Shelf::DeadOf("crashed-cleanup".to_owned())];
        let waiting = (0..=9).map(Shelf::Waiting);
        for shelf in fixed.into_iter().chain(of_trouble).chain(waiting) {
            told.push(format!("{shelf:?} {:?}", self.shelf(keys, &shelf).await));
        }
        let past = store.past(keys, 1, 4).await.unwrap();
        told.extend(past.into_iter().map(|(_, lines)| lines));
        let mut groups = store.dead_groups(keys).await.unwrap();
        for group in &mut groups {
            group.newest_ms = 0;
        }
        told.push(format!("{groups:?}"));
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for counted in store.counted(keys, Grain::Day, 2).await.unwrap() {
            for (field, count) in counted.counts {
                *counts.entry(field).or_default() += count;
            }
        }
        told.push(format!("{counts:?}"));
        for batch in &round.batches {
            told.push(format!("{:?}", store.look_at_batch(keys, *batch).await.unwrap()));
        }
        told.extend(self.recurring(keys).await.iter().map(kept));
        told.join("\n")
    }

    /// All of a shelf, a few at a time.
    async fn shelf(&self, keys: &QueueKeys, shelf: &Shelf) -> Vec<String> {
        let (mut jobs, mut after) = (Vec::new(), Some(After::default()));
        while let Some(from) = after {
            let page = self.store.page(keys, shelf, &from, 3).await.unwrap();
            jobs.extend(page.jobs.iter().map(found));
            after = page.next;
        }
        jobs
    }
}

/// All but when it was enqueued.
fn record(record: &Bytes) -> String {
    let Record { flags, crashes, note, body, .. } = Record::read(record.clone()).unwrap();
    format!("{flags} {crashes} {note:?} {body:?}")
}

fn found(found: &Found) -> String {
    let Found { id, state, at_ms, lane, ended, progress, log, .. } = found;
    let ended = ended.as_ref().map(|ended| (&ended.line, &ended.result));
    let record = record(&found.record);
    format!("{id} {state:?} {record} {} {lane:?} {ended:?} {progress:?} {log:?}", at_ms.is_some())
}

fn kept(kept: &Kept) -> String {
    format!("{} {} {:?} {:?}", kept.name, kept.revision, kept.definition, kept.last_job)
}

fn look(look: &QueueLook) -> String {
    let oldest_ms = look.oldest_ms.map(|_| 0);
    format!("{:?}", QueueLook { now_ms: 0, oldest_ms, ..look.clone() })
}

impl Round {
    fn new(queue: &str, lease_ms: u64) -> Self {
        let scope = Scope::unscoped(&Prefix::default(), Tenancy::Multi);
        let keys = scope.job(&QueueName::new(queue).unwrap(), 0);
        let lane = |name: &str| Lane { name: name.to_owned(), ..Lane::default() };
        Self {
            keys,
            lanes: ["a", "b", "c"].map(lane).into(),
            renames: 0,
            lease_ms,
            ids: Vec::new(),
            buried: Vec::new(),
            batches: vec![new_id(), new_id()],
            last: Vec::new(),
        }
    }

    /// What is known before a step: its number is the same when it is sent again.
    fn before(&mut self, lane: usize, step: &Step) {
        if let Step::Turn(sent) = step {
            let lane = &mut self.lanes[lane];
            lane.request += 1;
            lane.last = Some(sent.clone());
        }
    }

    /// What both sides have said.
    fn after(&mut self, lane: usize, step: &Step, took: &[JobId], said: &str) {
        self.ids.extend(step.jobs().iter().map(|job| job.id));
        if let Step::Enqueue(jobs) = step {
            self.last.clone_from(jobs);
        }
        for ending in step.endings() {
            if matches!(ending.end, End::Dead { .. }) {
                self.buried.push(ending.id);
            }
        }
        let at = lane;
        let lane = &mut self.lanes[at];
        let told = step.endings().iter().filter(|ending| !ending.is_wrong);
        let told: Vec<JobId> = told.map(|ending| ending.id).collect();
        lane.held.retain(|id| !told.contains(id));
        let new: Vec<JobId> = took.iter().copied().filter(|id| !lane.held.contains(id)).collect();
        lane.held.extend(new);
        lane.is_joined |= said == "joined";
        let is_over = said == "Fallen" || matches!(step, Step::Leave);
        let is_emptied = matches!(step, Step::Finish(_)) && lane.held.is_empty();
        if is_over || is_emptied {
            self.renames += 1;
            let name = format!("{}{}", &lane.name[..1], self.renames);
            self.lanes[at] = Lane { name, ..Lane::default() };
        }
    }
}

async fn redis() -> (world::Server, Link) {
    let server = tokio::task::spawn_blocking(world::start_redis).await.unwrap();
    let target = Target::parse(&format!("redis://127.0.0.1:{}", server.port)).unwrap();
    let link = Link::open(&target, Duration::from_secs(10), Vec::new()).unwrap();
    link.until_up().await.unwrap();
    (server, link)
}

fn sides(link: &Link) -> [Side; 2] {
    let model = Store::Memory(MemoryBackend::new(Clock::system(), 64 << 20));
    let scripts = Store::Redis(RedisBackend::new(link.clone()));
    [Side::new(model), Side::new(scripts)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scripts_answer_as_the_model_does() {
    let (_server, link) = redis().await;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut done, mut taken, mut fallen) = (0_u64, 0, 0);
    'rounds: for number in 0..ROUNDS {
        let is_short = number % RECLAIM_IN == RECLAIM_IN - 1;
        let lease_ms = if is_short { 1 } else { LONG_MS };
        let mut round = Round::new(&format!("round{number}"), lease_ms);
        let mut sides = sides(&link);
        for side in &sides {
            let declaring = Declaring { len_max: Some(LEN_MAX), ..Declaring::default() };
            let declared = side.store.declare(&round.keys, declaring).await.unwrap();
            assert_eq!(declared.partitions, 1);
            let other = side.store.enqueue(&round.keys, 2, vec![plain(5)]).await.unwrap();
            assert_eq!(other, Written::OtherPartitions(1));
        }
        let within = if is_short { OVER * 4 / 5 } else { OVER * 10 };
        let mut began = Instant::now();
        for at in 0..STEPS {
            if is_short && at % (STEPS / 3) == STEPS / 3 - 1 {
                tokio::time::sleep(OVER).await;
                began = Instant::now();
            }
            if began.elapsed() > within {
                // On a slow machine, what ends by itself may have done so on one side only.
                continue 'rounds;
            }
            let lane = random.usize(..round.lanes.len());
            let step = match at {
                0 | 1 => Step::OpenBatch(round.batches[usize::from(at == 1)]),
                at if at == STEPS - 2 => Step::Look,
                at if at == STEPS - 1 => Step::Audit,
                _ => Step::random(&mut random, &round, lane),
            };
            round.before(lane, &step);
            let modelled = sides[0].step(&round, lane, &step).await;
            let scripted = sides[1].step(&round, lane, &step).await;
            assert_eq!(modelled, scripted, "{step:?} of {lane}, step {at} of round {number}");
            assert_eq!(sides[0].took, sides[1].took);
            round.after(lane, &step, &sides[0].took, &modelled);
            (done, taken) = (done + 1, taken + sides[0].took.len());
            fallen += u64::from(modelled == "Fallen");
            // What is of one moment is so on both sides, or on neither.
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }
    println!("{done} steps compared, {taken} jobs taken, {fallen} lanes fallen");
    assert!(taken > 300 && fallen > 5, "{taken}, {fallen}");
}

/// Takes one job in a lane of its own, and tells of its end.
async fn run(side: &mut Side, keys: &QueueKeys, lane: &str, end: impl FnOnce(JobId) -> End) {
    let joining = Joining { lane, label: "host:7", slots: 8, lease_ms: LONG_MS };
    side.store.join(keys, joining).await.unwrap();
    side.took.clear();
    side.turn(keys, lane, 1, &Sent { want: 1, ..Sent::default() }).await;
    let id = side.took[0];
    let ending = step::Ending { id, is_wrong: false, end: end(id) };
    side.turn(keys, lane, 2, &Sent { endings: vec![ending], ..Sent::default() }).await;
}

fn done(result: &'static [u8]) -> impl FnOnce(JobId) -> End {
    move |id| End::Done {
        retain_ms: 0,
        line: Bytes::from(format!("{id} mail 1 host\n")),
        result: Bytes::from_static(result),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_jobs_are_given_and_listed_a_few_at_a_time_and_in_their_order() {
    let (_server, link) = redis().await;
    let keys = Round::new("long", LONG_MS).keys;
    // Some with a key: of these a token is in the list.
    let job = |at: usize| {
        let key = at.is_multiple_of(3).then(|| format!("key {at}"));
        let payload = Bytes::from(vec![b'x'; 300_000]);
        let body = Body { payload, priority: 5, key: key.clone(), ..Body::default() };
        Outgoing { flags: body.flags(false), body: body.write().unwrap(), key, ..plain(5) }
    };
    let jobs: Vec<Outgoing> = (0..20).map(job).collect();
    let mut told = Vec::new();
    for mut side in sides(&link) {
        for some in jobs.chunks(3) {
            side.store.enqueue(&keys, 1, some.to_vec()).await.unwrap();
        }
        let page = side.store.page(&keys, &Shelf::Waiting(5), &After::default(), 100).await;
        assert_eq!(page.unwrap().jobs.len(), 4, "as many as there is room for");
        let listed = side.shelf(&keys, &Shelf::Waiting(5)).await.len();
        let joining = Joining { lane: "a", label: "host:7", slots: 64, lease_ms: LONG_MS };
        side.store.join(&keys, joining).await.unwrap();
        let mut turns = Vec::new();
        for request in 1..=5 {
            // Whose reply was lost is sent again, and is as short.
            for _ in 0..2 {
                side.took.clear();
                let sent = Sent { want: 64, ..Sent::default() };
                side.turn(&keys, "a", request, &sent).await;
                turns.push(side.took.clone());
            }
        }
        assert!(turns.iter().all(|took| took.len() == 4), "{turns:?}");
        assert!(turns.chunks(2).all(|twice| twice[0] == twice[1]), "{turns:?}");
        let ids: HashSet<JobId> = turns.iter().flatten().copied().collect();
        assert_eq!((listed, ids.len()), (20, 20));
        told.push(turns);
    }
    assert_eq!(told[0], told[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_an_end_is_told_of_it() {
    let (_server, link) = redis().await;
    let round = Round::new("ends", LONG_MS);
    for mut side in sides(&link) {
        let keys = &round.keys;
        let jobs: Vec<Outgoing> = (0..4).map(|_| plain(5)).collect();
        let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
        side.store.enqueue(keys, 1, jobs).await.unwrap();
        let mut endings = side.store.endings(keys);
        assert_eq!(endings.next().await, Some(Ending::Listening));
        for id in &ids[..3] {
            assert!(side.store.find_awaiting(keys, *id, LONG_MS).await.unwrap().is_some());
        }
        run(&mut side, keys, "a", done(b"{\"n\":1}")).await;
        run(&mut side, keys, "b", |_| End::Dead {
            fingerprint: "f1".to_owned(),
            sample: "mail\0no good".to_owned(),
            note: Bytes::new(),
        })
        .await;
        side.store.cancel(keys, ids[2]).await.unwrap();
        // No one waits for this one.
        run(&mut side, keys, "c", done(b"")).await;
        let told = Told::Done(Some(Bytes::from_static(b"{\"n\":1}")));
        for of in [(ids[0], told), (ids[1], Told::Dead), (ids[2], Told::Gone)] {
            assert_eq!(endings.next().await, Some(Ending::Of(of.0, of.1)));
        }
        let kept = side.store.find(keys, ids[0]).await.unwrap();
        assert!(kept.is_some_and(|kept| kept.ended.is_some()), "kept for whoever comes late");
        assert_eq!(side.store.find(keys, ids[3]).await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_comes_for_each_job_and_says_of_which_partition() {
    let (_server, link) = redis().await;
    let rounds = ["idle", "busy"].map(|queue| Round::new(queue, LONG_MS));
    let keys = rounds.map(|round| round.keys);
    for side in sides(&link) {
        let mut waker = side.store.waker(&keys);
        side.store.enqueue(&keys[1], 1, vec![plain(5), plain(5)]).await.unwrap();
        assert_eq!(waker.next().await.unwrap(), Some(1));
        assert_eq!(waker.next().await.unwrap(), Some(1));
        let later = Outgoing { due: Due::InMs(LONG_MS), ..plain(5) };
        side.store.enqueue(&keys[0], 1, vec![later]).await.unwrap();
        assert_eq!(waker.next().await.unwrap(), Some(0), "who waits for the next one hears of it");
        assert_eq!(waker.next().await.unwrap(), None);
    }
}
