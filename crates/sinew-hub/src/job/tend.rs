//! Queues that this hub looks after, since their workers pull: somebody has to see to recurring jobs, and to what follows on
//! others.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sinew::job::{QueueHandle, Tender};

/// For so long after someone has taken jobs of it, a queue is looked after.
const KEEP: Duration = Duration::from_secs(600);
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Each has tasks that ask the store every few seconds.
const QUEUES_MAX: usize = 1_000;

/// A queue and its tenant; `None` is what belongs to none.
type Whose = (Option<String>, String);

/// The queues that a hub looks after, for as long as it is held.
pub(crate) struct Tended(Arc<Mutex<All>>);

#[derive(Default)]
struct All {
    queues: BTreeMap<Whose, One>,
    has_told_of_full: bool,
}

struct One {
    /// When jobs of it were last asked for.
    asked_at: Instant,
    tender: Tender,
}

impl Tended {
    /// None yet.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub(crate) fn new() -> Self {
        let all = Arc::<Mutex<All>>::default();
        tokio::spawn(sweep(Arc::downgrade(&all)));
        Self(all)
    }

    /// Someone takes jobs of a queue: from now on it is looked after, for a while. Where there are too many, one of the
    /// tenant that has the most makes room for it.
    pub(crate) fn asked(&self, tenant: Option<&str>, queue: &str, handle: &QueueHandle) {
        let (whose, asked_at) = ((tenant.map(str::to_owned), queue.to_owned()), Instant::now());
        let mut all = self.0.lock();
        if let Some(known) = all.queues.get_mut(&whose).filter(|one| !one.tender.has_ended()) {
            known.asked_at = asked_at;
            return;
        }
        // A bad name is told where its jobs are asked for.
        let Ok(tender) = handle.tend() else { return };
        all.queues.insert(whose, One { asked_at, tender });
        if all.queues.len() > QUEUES_MAX {
            let asked = all.queues.iter().map(|(whose, one)| (whose, one.asked_at));
            if let Some(whose) = to_leave(asked) {
                all.queues.remove(&whose);
            }
            if !std::mem::replace(&mut all.has_told_of_full, true) {
                tracing::warn!(
                    "more than {QUEUES_MAX} queues are pulled from: they are looked after in turn"
                );
            }
        }
    }
}

/// The one for which the longest nobody has asked, of the tenant that has the most: none takes the place of another's by
/// asking for many. Where many have as many, it is of the one that has waited the longest: none is left alone for its name.
fn to_leave<'a>(asked: impl Iterator<Item = (&'a Whose, Instant)>) -> Option<Whose> {
    let mut tenants: BTreeMap<&Option<String>, Vec<(Instant, &Whose)>> = BTreeMap::new();
    for (whose, asked_at) in asked {
        tenants.entry(&whose.0).or_default().push((asked_at, whose));
    }
    let most = tenants.into_values().max_by_key(|of| {
        let oldest = of.iter().map(|(asked_at, _)| *asked_at).min();
        (of.len(), Reverse(oldest))
    })?;
    most.into_iter().min().map(|(_, whose)| whose.clone())
}

/// Leaves those alone whose jobs nobody has asked for.
async fn sweep(all: Weak<Mutex<All>>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let Some(all) = all.upgrade() else { return };
        let mut all = all.lock();
        all.queues.retain(|_, one| one.asked_at.elapsed() < KEEP);
        let is_full = all.queues.len() >= QUEUES_MAX;
        all.has_told_of_full &= is_full;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_that_asks_for_many_queues_takes_no_place_of_anothers() {
        let began = Instant::now();
        let of = |tenant: &str, queue: String, asked_s: u64| {
            ((Some(tenant.to_owned()), queue), began + Duration::from_secs(asked_s))
        };
        // Those of the one are older than all of the other's.
        let one = (0..3).map(|n| of("acme", format!("mail{n}"), n));
        let others = (0..900).map(|n| of("zeta", format!("made-up{n}"), 1_000 - n));
        let asked: Vec<(Whose, Instant)> = one.chain(others).collect();
        let left = to_leave(asked.iter().map(|(whose, asked_at)| (whose, *asked_at)));
        assert_eq!(left, Some((Some("zeta".to_owned()), "made-up899".to_owned())));
        assert_eq!(to_leave(std::iter::empty()), None);
    }

    #[test]
    fn among_tenants_of_as_many_queues_the_one_that_asked_first_makes_room() {
        let began = Instant::now();
        // The last by name has asked last, the first by name just before it.
        let asked = (0..=QUEUES_MAX).map(|n| {
            let asked_s = if n == 0 { 1_001 } else { n as u64 };
            let asked_s = if n == QUEUES_MAX { 1_002 } else { asked_s };
            let tenant = Some(format!("tenant{n:04}"));
            ((tenant, "mail".to_owned()), began + Duration::from_secs(asked_s))
        });
        let asked: Vec<(Whose, Instant)> = asked.collect();
        let left = to_leave(asked.iter().map(|(whose, asked_at)| (whose, *asked_at)));
        assert_eq!(left, Some((Some("tenant0001".to_owned()), "mail".to_owned())));
    }
}
