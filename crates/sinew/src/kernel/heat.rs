//! Which keys come up most, in a bounded space: Metwally, Agrawal and El Abbadi, "Efficient
//! Computation of Frequent and Top-k Elements in Data Streams", 2005.

use std::collections::HashMap;

use parking_lot::Mutex;

const KEYS_MAX: usize = 512;
/// After so much weight, all counts are halved: what was hot an hour ago is not.
const TOTAL_MAX: u64 = 2_000_000;

/// What comes up most of late. A mutex: held for a few map operations, by those who tell a sample.
#[derive(Default)]
pub(crate) struct Heat(Mutex<Samples>);

#[derive(Default)]
struct Samples {
    counts: HashMap<Box<str>, u64>,
    total: u64,
}

impl Heat {
    /// Told of a sample: a key, and for how many it stands.
    pub(crate) fn add(&self, key: &str, weight: u64) {
        self.0.lock().add(key, weight);
    }

    /// Keys that begin so, and the share of each of all that begin so, hottest first.
    pub(crate) fn hottest(&self, prefix: &str) -> Vec<(String, f64)> {
        let samples = self.0.lock();
        let of_prefix = samples.counts.iter().filter(|(key, _)| key.starts_with(prefix));
        let mut counts: Vec<(String, u64)> =
            of_prefix.map(|(key, count)| (key.to_string(), *count)).collect();
        drop(samples);
        counts.sort_by(|(a, one), (b, other)| other.cmp(one).then_with(|| a.cmp(b)));
        let total: u64 = counts.iter().map(|(_, count)| count).sum();
        #[allow(clippy::cast_precision_loss)]
        let share = |count: u64| count as f64 / total.max(1) as f64;
        counts.into_iter().map(|(key, count)| (key, share(count))).collect()
    }
}

impl Samples {
    fn add(&mut self, key: &str, weight: u64) {
        self.total += weight;
        if self.total > TOTAL_MAX {
            self.total /= 2;
            self.counts.retain(|_, count| {
                *count /= 2;
                *count > 0
            });
        }
        if let Some(count) = self.counts.get_mut(key) {
            *count += weight;
            return;
        }
        // Full: the newcomer takes the place, and the count, of the least.
        let mut count = weight;
        if self.counts.len() >= KEYS_MAX
            && let Some(least) =
                self.counts.iter().min_by_key(|(_, count)| **count).map(|(key, _)| key.clone())
        {
            count += self.counts.remove(&least).unwrap_or_default();
        }
        self.counts.insert(key.into(), count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_up_most_is_found_among_many() {
        let mut samples = Samples::default();
        for n in 0..30_000_u32 {
            samples.add(&format!("c:{n}"), 256);
            if n.is_multiple_of(10) {
                samples.add("c:hot", 256);
            }
            assert!(samples.counts.len() <= KEYS_MAX);
        }
        let heat = Heat(Mutex::new(samples));
        let hottest = heat.hottest("c:");
        assert_eq!(hottest[0].0, "c:hot");
        assert!(heat.hottest("d:").is_empty());
    }
}
