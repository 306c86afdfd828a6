//! Order per key: which events of a partition may run now. Nothing here waits.
//!
//! Each key has a lane. The first event of a lane runs, or waits for its retry; those behind it wait
//! for it, and no one else does. Events without a key have a lane each.

use std::collections::{BTreeSet, HashMap, VecDeque};

use bytes::Bytes;

use super::model::{Entry, EntryId};
use crate::kernel::clock::Monotonic;

/// The lanes of one partition.
#[derive(Default)]
pub(super) struct Lanes {
    lanes: HashMap<Name, Lane>,
    /// Where each event is that is known: one that is read again is passed over.
    places: HashMap<EntryId, Name>,
    /// Lanes whose first may run, in the order in which that came to be.
    ready: VecDeque<Name>,
    /// Lanes whose first waits for its retry.
    waiting: BTreeSet<(Monotonic, EntryId)>,
    running_len: usize,
}

/// What tells lanes apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Name {
    Key(Bytes),
    Alone(EntryId),
}

/// Never empty.
struct Lane {
    is_running: bool,
    events: VecDeque<Waiting>,
}

struct Waiting {
    entry: Entry,
    /// When it may run, where it is retried.
    at: Option<Monotonic>,
}

impl Lanes {
    /// How many events there are, those that run among them.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn running_len(&self) -> usize {
        self.running_len
    }

    /// Takes an event at the end of its lane. Events are to come in the order of their ids.
    pub(super) fn push(&mut self, entry: Entry, at: Option<Monotonic>) {
        let id = entry.id;
        if self.places.contains_key(&id) {
            return;
        }
        let name = name_of(&entry);
        self.places.insert(id, name.clone());
        let waiting = Waiting { entry, at };
        match self.lanes.get_mut(&name) {
            Some(lane) => lane.events.push_back(waiting),
            None => {
                let events = VecDeque::from([waiting]);
                self.lanes.insert(name.clone(), Lane { is_running: false, events });
                self.line_up(&name);
            }
        }
    }

    pub(super) fn has_next(&self) -> bool {
        !self.ready.is_empty()
    }

    /// One that is to run now.
    pub(super) fn next(&mut self) -> Option<Entry> {
        while let Some(name) = self.ready.pop_front() {
            let Some(lane) = self.lanes.get_mut(&name) else { continue };
            let Some(first) = lane.events.front() else { continue };
            lane.is_running = true;
            self.running_len += 1;
            return Some(first.entry.clone());
        }
        None
    }

    /// One that ran is finished: the next of its lane has its turn. Whether it ran.
    pub(super) fn finish(&mut self, id: EntryId) -> bool {
        let Some(name) = self.stop_running(id) else { return false };
        self.places.remove(&id);
        let is_empty = self.lanes.get_mut(&name).is_none_or(|lane| {
            lane.events.pop_front();
            lane.events.is_empty()
        });
        if is_empty {
            self.lanes.remove(&name);
        } else {
            self.line_up(&name);
        }
        true
    }

    /// One that ran is to run again at some time, and its lane waits for it. Whether it ran.
    pub(super) fn retry(&mut self, id: EntryId, at: Monotonic, note: Option<Bytes>) -> bool {
        let Some(name) = self.stop_running(id) else { return false };
        if let Some(first) = self.lanes.get_mut(&name).and_then(|lane| lane.events.front_mut()) {
            first.at = Some(at);
            if note.is_some() {
                first.entry.note = note;
            }
        }
        self.line_up(&name);
        true
    }

    /// Lets those run whose time has come.
    pub(super) fn wake(&mut self, now: Monotonic) {
        while let Some((at, id)) = self.waiting.first().copied()
            && at <= now
        {
            self.waiting.pop_first();
            if let Some(name) = self.places.get(&id) {
                self.ready.push_back(name.clone());
            }
        }
    }

    /// When the next one's time comes.
    pub(super) fn next_at(&self) -> Option<Monotonic> {
        self.waiting.first().map(|(at, _)| *at)
    }

    /// Forgets all that does not run: another owner finds them where they are.
    pub(super) fn drop_waiting(&mut self) {
        self.ready.clear();
        self.waiting.clear();
        self.lanes.retain(|_, lane| {
            lane.events.truncate(usize::from(lane.is_running));
            lane.is_running
        });
        let lanes = &self.lanes;
        self.places.retain(|id, name| {
            lanes.get(name).and_then(|lane| lane.events.front()).is_some_and(|e| e.entry.id == *id)
        });
    }

    /// The first of a lane that does not run takes its turn, at once or in its time.
    fn line_up(&mut self, name: &Name) {
        let Some(first) = self.lanes.get(name).and_then(|lane| lane.events.front()) else { return };
        match first.at {
            Some(at) => {
                self.waiting.insert((at, first.entry.id));
            }
            None => self.ready.push_back(name.clone()),
        }
    }

    /// The lane of one that ran, which it no longer does; nothing if it did not.
    fn stop_running(&mut self, id: EntryId) -> Option<Name> {
        let name = self.places.get(&id)?.clone();
        let lane = self.lanes.get_mut(&name)?;
        let is_first = lane.events.front().is_some_and(|first| first.entry.id == id);
        if !is_first || !lane.is_running {
            return None;
        }
        lane.is_running = false;
        self.running_len -= 1;
        Some(name)
    }
}

fn name_of(entry: &Entry) -> Name {
    let key = entry.fields.iter().find(|(name, _)| name.as_ref() == b"key");
    key.map_or(Name::Alone(entry.id), |(_, key)| Name::Key(key.clone()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn id(n: u64) -> EntryId {
        EntryId { ms: n, seq: 0 }
    }

    fn entry(n: u64, key: &'static str) -> Entry {
        let mut fields = vec![(Bytes::from_static(b"data"), Bytes::from_static(b"1"))];
        if !key.is_empty() {
            fields.push((Bytes::from_static(b"key"), Bytes::from_static(key.as_bytes())));
        }
        Entry { id: id(n), fields, note: None, crashes: 0, due_ms: None }
    }

    fn at(ms: u64) -> Monotonic {
        Monotonic::ZERO.after(Duration::from_millis(ms))
    }

    fn all_next(lanes: &mut Lanes) -> Vec<u64> {
        std::iter::from_fn(|| lanes.next()).map(|entry| entry.id.ms).collect()
    }

    #[test]
    fn one_of_a_key_runs_at_a_time_and_others_beside_it() {
        let mut lanes = Lanes::default();
        for (n, key) in [(1, "a"), (2, "b"), (3, "a"), (4, ""), (5, ""), (6, "b")] {
            lanes.push(entry(n, key), None);
        }
        assert_eq!(all_next(&mut lanes), [1, 2, 4, 5]);
        assert!(lanes.finish(id(1)));
        assert_eq!(all_next(&mut lanes), [3]);
        assert!(!lanes.finish(id(1)), "it was finished");
        assert!(!lanes.finish(id(6)), "it does not run");
        assert_eq!((lanes.len(), lanes.running_len()), (5, 4));
    }

    #[test]
    fn a_retry_holds_up_its_own_lane_until_its_time() {
        let mut lanes = Lanes::default();
        for (n, key) in [(1, "a"), (2, "a"), (3, "b")] {
            lanes.push(entry(n, key), None);
        }
        assert_eq!(all_next(&mut lanes), [1, 3]);
        assert!(lanes.retry(id(1), at(50), Some(Bytes::from_static(b"note"))));
        assert_eq!((all_next(&mut lanes), lanes.next_at()), (vec![], Some(at(50))));
        lanes.wake(at(49));
        assert_eq!(all_next(&mut lanes), [0_u64; 0]);
        lanes.wake(at(50));
        let again = lanes.next().unwrap();
        assert_eq!((again.id, again.note.as_deref()), (id(1), Some(&b"note"[..])));
        assert!(lanes.finish(id(1)));
        assert_eq!(all_next(&mut lanes), [2]);
    }

    #[test]
    fn what_is_read_again_is_passed_over() {
        let mut lanes = Lanes::default();
        lanes.push(entry(1, "a"), None);
        lanes.push(entry(1, "a"), None);
        assert_eq!(lanes.len(), 1);
        assert_eq!(all_next(&mut lanes), [1]);
        lanes.push(entry(1, "a"), None);
        assert!(lanes.finish(id(1)));
        assert_eq!((lanes.len(), all_next(&mut lanes)), (0, vec![]));
    }

    #[test]
    fn only_what_runs_is_left_once_the_rest_is_dropped() {
        let mut lanes = Lanes::default();
        for (n, key) in [(1, "a"), (2, "a"), (3, "b"), (4, "c")] {
            lanes.push(entry(n, key), (key == "c").then(|| at(9)));
        }
        assert_eq!(lanes.next().unwrap().id, id(1));
        lanes.drop_waiting();
        assert_eq!((lanes.len(), lanes.running_len(), lanes.next_at()), (1, 1, None));
        assert_eq!(all_next(&mut lanes), [0_u64; 0]);
        assert!(lanes.finish(id(1)));
        assert_eq!((lanes.len(), all_next(&mut lanes)), (0, vec![]));
    }

    proptest! {
        /// Whatever ends when and how: a key's events are finished in order, one at a time, and all of them.
        #[test]
        fn every_lane_is_in_order(steps in prop::collection::vec((0_usize..4, 0_usize..8, any::<bool>()), 1..200)) {
            const KEYS: [&str; 4] = ["a", "b", "c", "d"];
            let (mut lanes, mut running, mut finished, mut now) = (Lanes::default(), Vec::new(), Vec::new(), 0);
            let mut pushed = 0;
            let mut keys = HashMap::new();
            for (key, which, fails) in steps {
                pushed += 1;
                keys.insert(id(pushed), key);
                lanes.push(entry(pushed, KEYS[key]), None);
                now += 1;
                lanes.wake(at(now));
                running.extend(std::iter::from_fn(|| lanes.next()).map(|entry| entry.id));
                let distinct: std::collections::HashSet<_> = running.iter().map(|id| keys[id]).collect();
                prop_assert_eq!(distinct.len(), running.len());
                prop_assert_eq!(lanes.running_len(), running.len());
                let ended = running.swap_remove(which % running.len().max(1));
                match fails {
                    true => prop_assert!(lanes.retry(ended, at(now + 3), None)),
                    false => {
                        prop_assert!(lanes.finish(ended));
                        finished.push(ended);
                    }
                }
                if running.is_empty() {
                    now += 3;
                    lanes.wake(at(now));
                    running.extend(std::iter::from_fn(|| lanes.next()).map(|entry| entry.id));
                }
            }
            while lanes.len() > 0 {
                now += 3;
                lanes.wake(at(now));
                running.extend(std::iter::from_fn(|| lanes.next()).map(|entry| entry.id));
                for ended in running.drain(..) {
                    prop_assert!(lanes.finish(ended));
                    finished.push(ended);
                }
            }
            prop_assert_eq!(finished.len() as u64, pushed);
            for key in 0..4 {
                let of_key: Vec<_> = finished.iter().filter(|id| keys[*id] == key).collect();
                prop_assert!(of_key.is_sorted());
            }
        }
    }
}
