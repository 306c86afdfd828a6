//! Many keys at once: by a glob over one cache, or all entries of a deployment.

use std::sync::Arc;

use super::error::{Error, Result};
use super::key::{KEY_LEN_MAX, Key, Scope, has_meaning};
use super::name::{Prefix, Space, Tenancy, is_a_caches};

/// A glob over the entries of one cache, with `*` and `?`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pattern {
    scope: Arc<str>,
    glob: Arc<str>,
}

impl Pattern {
    pub(crate) fn new(scope: &Scope, space: &Space, glob: &str) -> Result<Self> {
        if let Some(bad) = glob.chars().find(|c| has_meaning(*c) && !":*?%".contains(*c)) {
            return Err(Error::rejected(format!(
                "invalid pattern: {bad:?} is percent-encoded in keys; expected key text as redis-cli shows it, with * and ?"
            )));
        }
        if glob.is_empty() || glob.len() > KEY_LEN_MAX {
            return Err(Error::rejected(format!(
                "invalid pattern of {} bytes: expected 1 to {KEY_LEN_MAX}",
                glob.len()
            )));
        }
        Ok(Self {
            scope: scope.as_str().into(),
            glob: format!("{}{}:{glob}", scope.as_str(), space.as_str()).into(),
        })
    }

    pub(crate) fn matches(&self, key: &Key) -> bool {
        glob_matches(self.glob.as_bytes(), key.as_str().as_bytes())
    }
}

/// Which entries to remove, and where to look for them in Redis.
#[derive(Clone, Debug)]
pub(crate) enum Selection {
    Matching(Pattern),
    /// Every entry of every cache and tenant.
    Everything {
        prefix: Prefix,
        tenancy: Tenancy,
    },
}

/// An entry that was found, and its companions.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) entry: String,
    pub(crate) lease: String,
    pub(crate) version: String,
}

impl Selection {
    pub(crate) fn contains(&self, key: &Key) -> bool {
        match self {
            Self::Matching(pattern) => pattern.matches(key),
            // A client has one prefix and one tenancy.
            Self::Everything { .. } => true,
        }
    }

    /// Globs in Redis's own syntax, in the order to look: leases first. A load that is refused
    /// after that cannot have filled before, and one that filled before is found as an entry.
    pub(crate) fn globs(&self) -> [String; 2] {
        match self {
            Self::Matching(pattern) => {
                let Pattern { scope, glob } = pattern;
                [format!("{scope}lease:{{{glob}}}"), glob.to_string()]
            }
            Self::Everything { prefix, tenancy: Tenancy::Single } => {
                [format!("{}lease:{{*}}", prefix.as_str()), format!("{}*", prefix.as_str())]
            }
            Self::Everything { prefix, tenancy: Tenancy::Multi } => {
                [format!("{}*:lease:{{*}}", prefix.as_str()), format!("{}*:*", prefix.as_str())]
            }
        }
    }

    /// The entry that a key found by a glob is, or is the lease of; `None` for a key of anything
    /// but a cache.
    pub(crate) fn found(&self, key: &str) -> Option<Found> {
        let scope_len = match self {
            Self::Matching(pattern) => pattern.scope.len(),
            Self::Everything { prefix, tenancy: Tenancy::Single } => prefix.as_str().len(),
            Self::Everything { prefix, tenancy: Tenancy::Multi } => {
                let rest = key.strip_prefix(prefix.as_str())?;
                prefix.as_str().len() + rest.find(':')? + 1
            }
        };
        let (scope, rest) = key.split_at_checked(scope_len)?;
        let entry = match rest.strip_prefix("lease:{") {
            Some(tagged) => tagged.strip_suffix('}')?,
            None => key,
        };
        let space = entry.strip_prefix(scope)?.split(':').next()?;
        is_a_caches(space).then(|| Found {
            entry: entry.to_owned(),
            lease: format!("{scope}lease:{{{entry}}}"),
            version: format!("{scope}version:{{{entry}}}"),
        })
    }
}

/// Matches `*` and `?` (one byte, as Redis has it) in time linear in the text for each star.
fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut g, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match glob.get(g) {
            Some(b'*') => {
                retry = Some((g, t));
                g += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[t] => {
                g += 1;
                t += 1;
            }
            _ => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    g = star + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|b| *b == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn globs_match_like_their_regular_expression(glob in "[ab*?]{0,6}", text in "[ab]{0,8}") {
            let expected = naive(glob.as_bytes(), text.as_bytes());
            prop_assert_eq!(glob_matches(glob.as_bytes(), text.as_bytes()), expected);
        }
    }

    fn naive(glob: &[u8], text: &[u8]) -> bool {
        match (glob.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => {
                naive(rest, text) || (!text.is_empty() && naive(glob, &text[1..]))
            }
            (Some((g, glob)), Some((t, text))) if *g == b'?' || g == t => naive(glob, text),
            _ => false,
        }
    }

    #[test]
    fn everything_is_every_entry_and_nothing_else() {
        let prefix = Prefix::new("App_").unwrap();
        let multi = Selection::Everything { prefix: prefix.clone(), tenancy: Tenancy::Multi };
        let lease = "App_acme:lease:{App_acme:user:7:x}";
        let found = || Found {
            entry: "App_acme:user:7:x".to_owned(),
            lease: lease.to_owned(),
            version: "App_acme:version:{App_acme:user:7:x}".to_owned(),
        };
        assert_eq!(multi.found("App_acme:user:7:x"), Some(found()));
        assert_eq!(multi.found(lease), Some(found()));
        let others = [
            "App__:deployment",
            "App_acme:job:{mail}:p0",
            "App_acme:session:user:1",
            "App_acme:version:{App_acme:user:7:x}",
            "App_acme:tag:{user}",
            "App_acme",
            "X_a:b:c",
        ];
        for other in others {
            assert_eq!(multi.found(other), None, "{other}");
        }
        let single = Selection::Everything { prefix, tenancy: Tenancy::Single };
        assert_eq!(single.found("App_user:7").unwrap().lease, "App_lease:{App_user:7}");
        assert_eq!(single.found("App__:deployment"), None);
        assert_eq!(single.found("App_lock:user:7"), None);
    }
}
