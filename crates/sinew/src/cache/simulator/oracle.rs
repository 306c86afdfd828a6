//! How old a value may be: the promise that invalidation wins, by the numbers.
//!
//! The source counts the versions of each key. An invalidation that was called at version 5 and came
//! back `Done` lets no later call see less than 5; another process's local level may, until it was
//! told, or has noticed that it is told nothing.

pub(super) const KEYS: usize = 2;
pub(super) const NODES: usize = 3;

pub(super) type Floors = [u64; KEYS];

/// What a call may see at the least, by where the value comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) anywhere: u64,
    /// From Redis or a load: not only what the process was told of.
    pub(super) asked: u64,
    /// As something fresh.
    pub(super) fresh: u64,
    /// The second of these only where the store answers: a process without it shares its loads.
    pub(super) troubles: u64,
    /// All this, unless the store has lost its last writes since.
    pub(super) losses: u64,
}

#[derive(Default)]
pub(super) struct Oracle {
    /// The source.
    pub(super) versions: Floors,
    done: Floors,
    expired: Floors,
    told: [Floors; NODES],
    /// Invalidations that were made in the store, and those on their way, by entry and by tag.
    made: Floors,
    made_by_tag: Floors,
    on_their_way: [Vec<u64>; KEYS],
    tags_on_their_way: Vec<Floors>,
    /// A write of these may still arrive, however late.
    pub(super) tainted: [bool; KEYS],
    pub(super) losses: u64,
    /// Calls of each process that failed.
    pub(super) troubles: [u64; NODES],
}

impl Oracle {
    pub(super) fn bounds(&self, node: usize, key: usize) -> Bounds {
        let told = self.told[node][key];
        let asked = self.done[key].max(told);
        let fresh = asked.max(self.expired[key]);
        let troubles = self.troubles[node];
        Bounds { anywhere: told, asked, fresh, troubles, losses: self.losses }
    }

    pub(super) fn will_change(&mut self, key: usize, version: u64) {
        self.on_their_way[key].push(version);
    }

    pub(super) fn will_change_all(&mut self, versions: Floors) {
        self.tags_on_their_way.push(versions);
    }

    /// The store has made a change, of an entry or by tag. Which of those on their way it was is not
    /// known: the one that promises least is taken.
    pub(super) fn is_made(&mut self, key: &str) {
        match index_of(key) {
            Some(key) => {
                let on_their_way = &mut self.on_their_way[key];
                let least = on_their_way.iter().enumerate().min_by_key(|(_, version)| **version);
                if let Some((at, _)) = least {
                    let version = on_their_way.swap_remove(at);
                    self.made[key] = self.made[key].max(version);
                }
            }
            None if !self.tags_on_their_way.is_empty() => {
                let versions = self.tags_on_their_way.remove(0);
                raise(&mut self.made_by_tag, versions);
            }
            None => {}
        }
    }

    /// What a message about a key, sent now, lets its receiver know.
    pub(super) fn known_of(&self, key: &str) -> Floors {
        match index_of(key) {
            Some(key) => {
                let mut floors = Floors::default();
                floors[key] = self.made[key];
                floors
            }
            None => self.made_by_tag,
        }
    }

    pub(super) fn everything(&self) -> Floors {
        let mut floors = self.made;
        raise(&mut floors, self.made_by_tag);
        floors
    }

    pub(super) fn is_told(&mut self, node: usize, floors: Floors) {
        raise(&mut self.told[node], floors);
    }

    pub(super) fn is_done(&mut self, node: usize, key: usize, version: u64) {
        self.done[key] = self.done[key].max(version);
        self.told[node][key] = self.told[node][key].max(version);
    }

    pub(super) fn is_expired(&mut self, key: usize, version: u64) {
        self.expired[key] = self.expired[key].max(version);
    }

    /// The store has lost its last writes: until they are repeated, nothing is promised of them.
    pub(super) fn is_lost(&mut self) {
        let (versions, tainted, losses) = (self.versions, self.tainted, self.losses + 1);
        let troubles = self.troubles;
        *self = Self { versions, tainted, losses, troubles, ..Self::default() };
    }
}

fn raise(floors: &mut Floors, to: Floors) {
    for (floor, to) in floors.iter_mut().zip(to) {
        *floor = (*floor).max(to);
    }
}

/// `None` for the key of the tags.
fn index_of(key: &str) -> Option<usize> {
    key.strip_prefix("number:")?.parse().ok()
}
