//! The plain keys that stand above a document: on or off for a user, or for everyone.

use std::collections::HashMap;
use std::sync::Arc;

use crate::kernel::clock::UnixMillis;

/// The plain keys that are known. A clone shares all flags that neither changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overlays {
    flags: HashMap<Box<str>, Arc<OfFlag>>,
    len: usize,
}

#[derive(Clone, Debug, Default)]
struct OfFlag {
    everyone: Option<Entry>,
    users: HashMap<Box<str>, Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    value: bool,
    expires_at: Option<UnixMillis>,
}

/// What a plain key says, and of whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overlaid {
    User(bool),
    Everyone(bool),
}

impl Overlaid {
    pub(super) fn value(self) -> bool {
        match self {
            Self::User(value) | Self::Everyone(value) => value,
        }
    }
}

impl Overlays {
    /// What is there from now on for a user, or for everyone; `None` takes it away.
    pub(crate) fn set(
        &mut self,
        name: &str,
        user: Option<&str>,
        value: Option<(bool, Option<UnixMillis>)>,
    ) {
        let entry = value.map(|(value, expires_at)| Entry { value, expires_at });
        let before = self.entry(name, user).is_some();
        let Some(entry) = entry else {
            if before {
                self.remove(name, user);
            }
            return;
        };
        if !before {
            self.len += 1;
        }
        let flag = Arc::make_mut(self.flags.entry(name.into()).or_default());
        match user {
            Some(user) => {
                flag.users.insert(user.into(), entry);
            }
            None => flag.everyone = Some(entry),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// All of them in no order: flag, user, value, and when it ends.
    pub(crate) fn iter(
        &self,
    ) -> impl Iterator<Item = (&str, Option<&str>, bool, Option<UnixMillis>)> {
        self.flags.iter().flat_map(|(name, flag)| {
            let users = flag.users.iter().map(|(user, entry)| (Some(&**user), entry));
            let all = flag.everyone.iter().map(|entry| (None, entry)).chain(users);
            all.map(move |(user, entry)| (&**name, user, entry.value, entry.expires_at))
        })
    }

    /// When the next of them ends.
    pub(crate) fn next_expiry(&self) -> Option<UnixMillis> {
        self.iter().filter_map(|(_, _, _, expires_at)| expires_at).min()
    }

    /// What holds now: the user's own before everyone's.
    pub(super) fn find(&self, name: &str, user: Option<&str>, now: UnixMillis) -> Option<Overlaid> {
        let flag = self.flags.get(name)?;
        let own = user.and_then(|user| flag.users.get(user)).and_then(|entry| entry.at(now));
        own.map(Overlaid::User).or_else(|| flag.everyone.as_ref()?.at(now).map(Overlaid::Everyone))
    }

    /// Whether any holds now, for whomever it is.
    pub(super) fn has(&self, name: &str, now: UnixMillis) -> bool {
        self.flags.get(name).is_some_and(|flag| {
            let mut all = flag.everyone.iter().chain(flag.users.values());
            all.any(|entry| entry.at(now).is_some())
        })
    }

    fn entry(&self, name: &str, user: Option<&str>) -> Option<&Entry> {
        let flag = self.flags.get(name)?;
        match user {
            Some(user) => flag.users.get(user),
            None => flag.everyone.as_ref(),
        }
    }

    fn remove(&mut self, name: &str, user: Option<&str>) {
        let Some(flag) = self.flags.get_mut(name) else { return };
        let flag = Arc::make_mut(flag);
        match user {
            Some(user) => {
                flag.users.remove(user);
            }
            None => flag.everyone = None,
        }
        self.len -= 1;
        if flag.everyone.is_none() && flag.users.is_empty() {
            self.flags.remove(name);
        }
    }
}

impl Entry {
    /// Redis's clock may tell it later: what has ended by this process's does not count.
    fn at(&self, now: UnixMillis) -> Option<bool> {
        self.expires_at.is_none_or(|at| now < at).then_some(self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000);

    #[test]
    fn a_users_own_key_counts_before_everyones() {
        let mut overlays = Overlays::default();
        overlays.set("ui", None, Some((true, None)));
        overlays.set("ui", Some("u1"), Some((false, None)));
        assert_eq!(overlays.find("ui", Some("u1"), NOW), Some(Overlaid::User(false)));
        assert_eq!(overlays.find("ui", Some("u2"), NOW), Some(Overlaid::Everyone(true)));
        assert_eq!(overlays.find("ui", None, NOW), Some(Overlaid::Everyone(true)));
        assert_eq!(overlays.find("other", Some("u1"), NOW), None);
    }

    #[test]
    fn what_has_ended_does_not_count_before_anyone_takes_it_away() {
        let mut overlays = Overlays::default();
        overlays.set("ui", Some("u1"), Some((true, Some(UnixMillis(1_001)))));
        overlays.set("ui", None, Some((false, Some(UnixMillis(2_000)))));
        assert_eq!(overlays.next_expiry(), Some(UnixMillis(1_001)));
        assert_eq!(overlays.find("ui", Some("u1"), NOW), Some(Overlaid::User(true)));
        let later = UnixMillis(1_001);
        assert_eq!(overlays.find("ui", Some("u1"), later), Some(Overlaid::Everyone(false)));
        assert_eq!(overlays.find("ui", Some("u1"), UnixMillis(2_000)), None);
        assert!(overlays.has("ui", UnixMillis(1_999)) && !overlays.has("ui", UnixMillis(2_000)));
    }

    #[test]
    fn each_key_is_counted_once() {
        let mut overlays = Overlays::default();
        for value in [true, false] {
            overlays.set("ui", None, Some((value, None)));
            overlays.set("ui", Some("u1"), Some((value, None)));
        }
        assert_eq!(overlays.len(), 2);
        let before = overlays.clone();
        for _ in 0..2 {
            overlays.set("ui", None, None);
            overlays.set("ui", Some("u1"), None);
        }
        assert_eq!((overlays.len(), overlays.iter().count()), (0, 0));
        let mut kept: Vec<_> = before.iter().collect();
        kept.sort_unstable_by_key(|(_, user, ..)| *user);
        assert_eq!(kept, [("ui", None, false, None), ("ui", Some("u1"), false, None)]);
    }
}
