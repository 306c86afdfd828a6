//! What a token may do, and what a role may.

use std::fmt;
use std::str::FromStr;

/// What a route is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capability {
    Cache,
    Lock,
    Limit,
    Session,
    Flag,
    Stream,
    Job,
    Redis,
    Metrics,
    Audit,
}

/// How far someone may go. Each includes those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    Read,
    Write,
    /// What goes over much at once, takes away from others, or sets their rules.
    Admin,
}

/// `cache:read`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) capability: Capability,
    pub(crate) verb: Verb,
}

/// A scope of a token, or `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Granted {
    Everything,
    Of(Scope),
}

/// What a person may do on the dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Viewer,
    Operator,
    Admin,
}

/// What a scope looks like, for messages.
pub(crate) const EXPECTED: &str = "expected one like \"cache:read\", of cache, lock, limit, session, flag, stream, job, redis, metrics or audit and read, write or admin, or \"*\"";

impl Capability {
    const ALL: [Self; 10] = [
        Self::Cache,
        Self::Lock,
        Self::Limit,
        Self::Session,
        Self::Flag,
        Self::Stream,
        Self::Job,
        Self::Redis,
        Self::Metrics,
        Self::Audit,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Lock => "lock",
            Self::Limit => "limit",
            Self::Session => "session",
            Self::Flag => "flag",
            Self::Stream => "stream",
            Self::Job => "job",
            Self::Redis => "redis",
            Self::Metrics => "metrics",
            Self::Audit => "audit",
        }
    }
}

impl Verb {
    const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.capability.name(), self.verb.name())
    }
}

impl fmt::Display for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("*"),
            Self::Of(scope) => scope.fmt(f),
        }
    }
}

impl FromStr for Granted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Everything);
        }
        let parts = text.split_once(':').and_then(|(capability, verb)| {
            let capability = Capability::ALL.into_iter().find(|one| one.name() == capability)?;
            let verb = Verb::ALL.into_iter().find(|one| one.name() == verb)?;
            Some(Scope { capability, verb })
        });
        parts.map(Self::Of).ok_or_else(|| format!("invalid scope: {EXPECTED}"))
    }
}

impl Granted {
    pub(crate) fn covers(self, needed: Scope) -> bool {
        match self {
            Self::Everything => true,
            Self::Of(Scope { capability, verb }) => {
                capability == needed.capability && verb >= needed.verb
            }
        }
    }
}

impl Role {
    const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The least that may do so much.
    pub(crate) fn that_may(verb: Verb) -> Self {
        match verb {
            Verb::Read => Self::Viewer,
            Verb::Write => Self::Operator,
            Verb::Admin => Self::Admin,
        }
    }

    pub(crate) fn may(self, verb: Verb) -> bool {
        let most = match self {
            Self::Viewer => Verb::Read,
            Self::Operator => Verb::Write,
            Self::Admin => Verb::Admin,
        };
        most >= verb
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let role = Self::ALL.into_iter().find(|role| role.name() == text);
        role.ok_or_else(|| "invalid role: expected viewer, operator or admin".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(text: &str) -> Scope {
        match text.parse() {
            Ok(Granted::Of(scope)) => scope,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_scope_covers_less_of_its_own_capability_and_nothing_of_another() {
        for (granted, needed, covers) in [
            ("*", "redis:admin", true),
            ("cache:read", "cache:read", true),
            ("cache:write", "cache:read", true),
            ("cache:admin", "cache:write", true),
            ("cache:read", "cache:write", false),
            ("cache:write", "cache:admin", false),
            ("cache:admin", "lock:read", false),
        ] {
            let granted: Granted = granted.parse().unwrap();
            assert_eq!(granted.covers(scope(needed)), covers, "{granted} {needed}");
        }
    }

    #[test]
    fn each_scope_is_read_as_it_is_shown_and_nothing_else_is_one() {
        for capability in Capability::ALL {
            for verb in Verb::ALL {
                let scope = Scope { capability, verb };
                assert_eq!(scope.to_string().parse(), Ok(Granted::Of(scope)));
            }
        }
        for bad in
            ["", "cache", "cache:", ":read", "cache:delete", "Cache:read", "cache:read:x", "**"]
        {
            assert!(bad.parse::<Granted>().unwrap_err().contains("expected one like"), "{bad}");
        }
    }

    #[test]
    fn a_role_may_do_what_the_lesser_ones_may() {
        for (role, most) in
            [(Role::Viewer, Verb::Read), (Role::Operator, Verb::Write), (Role::Admin, Verb::Admin)]
        {
            assert_eq!(Role::that_may(most), role);
            for verb in Verb::ALL {
                assert_eq!(role.may(verb), verb <= most, "{role:?} {verb:?}");
            }
        }
    }
}
