//! Coherence under every schedule: the code that ships, once more, on atomics that let a scheduler
//! choose who runs next.

mod sync {
    pub(crate) use shuttle::sync::Arc;
    pub(crate) use shuttle::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}

// On purpose a second time; and some of it is not needed here.
#[allow(clippy::duplicate_mod, dead_code)]
#[path = "coherence.rs"]
mod coherence;

use coherence::{Coherence, Lane, Note};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

const KEY: &[u8] = b"user:7";
const SCHEDULES: usize = 20_000;

/// A store, what a process keeps of it, and what tells the process of changes.
struct World {
    coherence: Coherence,
    lane: Arc<Lane>,
    store: Mutex<u64>,
    /// What is kept in the process: as its map does, each step is one.
    kept: Mutex<Option<(u64, Note)>>,
}

/// When the terms are noted on which something is kept.
#[derive(Clone, Copy)]
enum Noted {
    BeforeTheQuestion,
    AfterTheAnswer,
}

impl World {
    fn new() -> Arc<Self> {
        let world = Self {
            coherence: Coherence::new(1),
            lane: Arc::new(Lane::new()),
            store: Mutex::new(0),
            kept: Mutex::new(None),
        };
        world.lane.confirmed();
        Arc::new(world)
    }

    fn note(&self) -> Option<Note> {
        self.coherence.note(KEY, &self.lane)
    }

    /// A look-up that misses here, asks, and keeps the answer.
    fn fill(&self, noted: Noted) {
        let before = self.note();
        let answer = *self.store.lock().unwrap();
        let note = match noted {
            Noted::BeforeTheQuestion => before,
            Noted::AfterTheAnswer => self.note(),
        };
        if let Some(note) = note {
            *self.kept.lock().unwrap() = Some((answer, note));
        }
    }

    /// What a look-up would be served from here.
    fn hit(&self) -> Option<u64> {
        let kept = self.kept.lock().unwrap();
        let (value, note) = kept.as_ref()?;
        self.coherence.holds(note).then_some(*value)
    }

    /// A change in another process, and the message of it.
    fn changes_elsewhere(&self, to: u64) {
        *self.store.lock().unwrap() = to;
        self.coherence.touch(KEY);
    }

    fn changes_here(&self, to: u64) {
        self.coherence.touch(KEY);
        *self.store.lock().unwrap() = to;
        self.coherence.touch(KEY);
    }

    fn is_as_the_store(&self) {
        let truth = *self.store.lock().unwrap();
        let hit = self.hit();
        assert!(hit.is_none_or(|hit| hit == truth), "{hit:?} is served, and {truth} is true");
    }
}

fn under_every_schedule(test: impl Fn() + Send + Sync + 'static) {
    shuttle::check_random(test, SCHEDULES);
}

fn together(tasks: Vec<Box<dyn FnOnce() + Send>>) {
    let threads: Vec<_> = tasks.into_iter().map(thread::spawn).collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

fn fills_race_changes(noted: Noted) {
    let world = World::new();
    let task = |act: fn(&World, Noted)| -> Box<dyn FnOnce() + Send> {
        let world = Arc::clone(&world);
        Box::new(move || act(&world, noted))
    };
    together(vec![
        task(World::fill),
        task(World::fill),
        task(|world, _| world.changes_elsewhere(1)),
        task(|world, _| {
            world.changes_here(2);
            // At once, in the process that made it.
            let hit = world.hit();
            assert!(hit != Some(0), "{hit:?}");
        }),
    ]);
    world.is_as_the_store();
}

#[test]
fn nothing_old_is_served_once_its_change_was_told() {
    under_every_schedule(|| fills_race_changes(Noted::BeforeTheQuestion));
}

#[test]
fn terms_that_are_noted_after_the_answer_are_found_out() {
    let found = std::panic::catch_unwind(|| {
        under_every_schedule(|| fills_race_changes(Noted::AfterTheAnswer));
    });
    assert!(found.is_err(), "the race was not found");
}

#[test]
fn what_went_untold_while_no_one_was_connected_is_not_served_after() {
    under_every_schedule(|| {
        let world = World::new();
        let filling = Arc::clone(&world);
        let losing = Arc::clone(&world);
        together(vec![
            Box::new(move || {
                filling.fill(Noted::BeforeTheQuestion);
                filling.fill(Noted::BeforeTheQuestion);
            }),
            Box::new(move || {
                losing.lane.lost();
                // Changed, and no one is told.
                *losing.store.lock().unwrap() = 1;
                losing.lane.confirmed();
            }),
        ]);
        world.is_as_the_store();
    });
}

#[test]
fn a_store_that_forgets_everything_takes_everything() {
    under_every_schedule(|| {
        let world = World::new();
        let (filling, flushing) = (Arc::clone(&world), Arc::clone(&world));
        together(vec![
            Box::new(move || filling.fill(Noted::BeforeTheQuestion)),
            Box::new(move || {
                *flushing.store.lock().unwrap() = 1;
                flushing.lane.moved_on();
            }),
        ]);
        world.is_as_the_store();
    });
}
