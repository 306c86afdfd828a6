//! Keys, tenants and prefixes: built in one place, passed as types.
//!
//! A key reads `{prefix}{tenant}:{space}:{segment}:…`, without the tenant part in a
//! single-tenant deployment. Building one is injective: two different
//! (prefix, tenant, space, segments) never give the same key, whatever a user types.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use super::error::{Error, Result};

/// The longest key, in bytes. Longer ones are rejected, never cut or hashed.
pub const KEY_LEN_MAX: usize = 1024;

/// The longest tenant or space name, in bytes.
const NAME_LEN_MAX: usize = 64;

/// Spaces that belong to capabilities, hence to no cache.
const RESERVED_SPACES: &[&str] = &[
    "counter",
    "deployment",
    "feature",
    "flag",
    "job",
    "lease",
    "limit",
    "lock",
    "rate-limit",
    "session",
    "stats",
    "stream",
    "tag",
];

/// Whether a deployment serves one tenant or many. It is recorded in Redis at first use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tenancy {
    /// Keys have no tenant part.
    Single,
    /// Every key has a tenant part; what belongs to no tenant is under `_`.
    #[default]
    Multi,
}

impl Tenancy {
    /// The word recorded in Redis.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Multi => "multi",
        }
    }
}

/// What every key of a service begins with: empty, or up to 64 of `[A-Za-z0-9_.-]` ending in `_`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefix(Arc<str>);

impl Prefix {
    /// Takes a valid prefix, e.g. `BillingService_`.
    ///
    /// # Errors
    /// `Rejected` with the rule when it is not one.
    pub fn new(text: impl AsRef<str>) -> Result<Self> {
        let text = text.as_ref();
        let valid = text.is_empty()
            || (text.len() <= NAME_LEN_MAX
                && text.ends_with('_')
                && text.bytes().all(|b| is_name_byte(b) || b == b'_'));
        if !valid {
            return Err(Error::rejected(format!(
                "invalid prefix {:?}: expected nothing, or up to {NAME_LEN_MAX} of A-Z a-z 0-9 _ . - ending in _",
                shown(text)
            )));
        }
        Ok(Self(text.into()))
    }

    /// The prefix as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A tenant's name: 1 to 64 of `[A-Za-z0-9.-]`. [`Tenant::new`] is the only way to get one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tenant(Arc<str>);

impl Tenant {
    /// Takes a valid tenant name.
    ///
    /// # Errors
    /// `Rejected` with the rule when it is not one.
    pub fn new(text: impl AsRef<str>) -> Result<Self> {
        name(text.as_ref(), "tenant").map(Self)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A cache's part of the key space: 1 to 64 of `[A-Za-z0-9.-]`, and no capability's word.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Space(Arc<str>);

impl Space {
    pub(crate) fn new(text: &str) -> Result<Self> {
        let text = name(text, "cache")?;
        if RESERVED_SPACES.contains(&&*text) {
            return Err(Error::rejected(format!(
                "a cache cannot be called {text:?}: that word belongs to a capability of Sinew; choose another"
            )));
        }
        Ok(Self(text))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

fn name(text: &str, what: &str) -> Result<Arc<str>> {
    let valid = !text.is_empty() && text.len() <= NAME_LEN_MAX && text.bytes().all(is_name_byte);
    if !valid {
        return Err(Error::rejected(format!(
            "invalid {what} {:?}: expected 1 to {NAME_LEN_MAX} of A-Z a-z 0-9 . -",
            shown(text)
        )));
    }
    Ok(text.into())
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-'
}

/// The beginning of a bad name, so that a megabyte of input does not become a megabyte of message.
fn shown(text: &str) -> String {
    let mut chars = text.chars();
    let mut shown: String = chars.by_ref().take(40).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

/// The beginning of all keys of one tenant: prefix and tenant part.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scope(Arc<str>);

impl Scope {
    /// The scope of one tenant.
    pub(crate) fn tenant(prefix: &Prefix, tenant: &Tenant) -> Self {
        Self(format!("{}{}:", prefix.0, tenant.0).into())
    }

    /// The scope of what belongs to no tenant.
    pub(crate) fn unscoped(prefix: &Prefix, tenancy: Tenancy) -> Self {
        match tenancy {
            Tenancy::Single => Self(Arc::clone(&prefix.0)),
            // No tenant can be called `_`.
            Tenancy::Multi => Self(format!("{}_:", prefix.0).into()),
        }
    }

    /// Where a deployment's tenancy is recorded: the same key in both modes, so that they can disagree.
    pub(crate) fn deployment_record(prefix: &Prefix) -> String {
        format!("{}_:deployment", prefix.0)
    }

    pub(crate) fn key<K: CacheKey + ?Sized>(&self, space: &Space, key: &K) -> Result<Key> {
        let mut text = String::with_capacity(self.0.len() + space.0.len() + 32);
        text.push_str(&self.0);
        text.push_str(&space.0);
        let root_len = text.len();
        key.segments(&mut Segments { text: &mut text });
        if text.len() == root_len {
            return Err(Error::rejected("empty key: expected at least one segment"));
        }
        if text.len() > KEY_LEN_MAX {
            return Err(Error::rejected(format!(
                "key of {} bytes is too long: expected at most {KEY_LEN_MAX} with prefix, tenant and cache",
                text.len()
            )));
        }
        Ok(Key { text, root_len, scope_len: self.0.len() })
    }
}

/// A whole key. It never contains a hash tag, so it may have companions.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    // Not shared: a hit builds one and throws it away.
    text: String,
    /// Length of prefix, tenant part and space.
    root_len: usize,
    /// Length of prefix and tenant part.
    scope_len: usize,
}

// The text alone identifies a key: building one is injective.
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
impl Eq for Key {}
impl std::hash::Hash for Key {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl Key {
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The lease that belongs to this entry: same tenant, same cluster slot.
    pub(crate) fn lease(&self) -> String {
        format!("{}lease:{{{}}}", &self.text[..self.scope_len], self.text)
    }

    /// All keys of the same tenant and space.
    pub(crate) fn whole_space(&self) -> Pattern {
        Pattern {
            scope: self.text[..self.scope_len].into(),
            glob: format!("{}:*", &self.text[..self.root_len]).into(),
        }
    }
}

/// A glob over the entries of one cache, with `*` and `?`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pattern {
    scope: Arc<str>,
    glob: Arc<str>,
}

impl Pattern {
    pub(crate) fn new(scope: &Scope, space: &Space, glob: &str) -> Result<Self> {
        if let Some(bad) = glob.chars().find(|c| has_meaning(*c) && !":*?".contains(*c)) {
            return Err(Error::rejected(format!(
                "invalid pattern: {bad:?} cannot occur in a key; expected key text with * and ?"
            )));
        }
        if glob.is_empty() || glob.len() > KEY_LEN_MAX {
            return Err(Error::rejected(format!(
                "invalid pattern of {} bytes: expected 1 to {KEY_LEN_MAX}",
                glob.len()
            )));
        }
        Ok(Self {
            scope: Arc::clone(&scope.0),
            glob: format!("{}{}:{glob}", scope.0, space.0).into(),
        })
    }

    pub(crate) fn matches(&self, key: &Key) -> bool {
        glob_matches(self.glob.as_bytes(), key.text.as_bytes())
    }

    /// The glob for entries, in Redis's own syntax.
    pub(crate) fn entries(&self) -> &str {
        &self.glob
    }

    /// The glob for the leases of those entries.
    pub(crate) fn leases(&self) -> String {
        format!("{}lease:{{{}}}", self.scope, self.glob)
    }

    /// The entry that a lease key found with [`Pattern::leases`] belongs to.
    pub(crate) fn entry_of<'a>(&self, lease: &'a str) -> Option<&'a str> {
        lease.strip_prefix(&*self.scope)?.strip_prefix("lease:{")?.strip_suffix('}')
    }

    /// The companion of an entry found with [`Pattern::entries`].
    pub(crate) fn lease_of(&self, entry: &str) -> String {
        format!("{}lease:{{{entry}}}", self.scope)
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

/// Receives the segments of a key, in order.
pub struct Segments<'a> {
    text: &'a mut String,
}

impl Segments<'_> {
    /// Adds one segment. Any text is fine: what has a meaning in keys or patterns is percent-encoded.
    pub fn push(&mut self, segment: impl fmt::Display) {
        self.text.push(':');
        // Writing to a String cannot fail.
        let _ = write!(Encoder(self.text), "{segment}");
    }
}

struct Encoder<'a>(&'a mut String);

impl fmt::Write for Encoder<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(has_meaning) {
            let (plain, special) = rest.split_at(at);
            self.0.push_str(plain);
            let len = special.chars().next().map_or(0, char::len_utf8);
            for byte in special[..len].bytes() {
                write!(self.0, "%{byte:02X}")?;
            }
            rest = &special[len..];
        }
        self.0.push_str(rest);
        Ok(())
    }
}

/// What separates segments, is a pattern's, a hash tag's, or cannot be seen.
fn has_meaning(c: char) -> bool {
    match c {
        '0'..='9' | 'A'..='Z' | 'a'..='z' => false,
        ':' | '%' | '{' | '}' | '*' | '?' | '[' | ']' | '\\' => true,
        _ => c.is_whitespace() || c.is_control(),
    }
}

/// What can name an entry of a cache: it writes its segments.
///
/// Numbers, text, and tuples of them are keys already. For a type of your own:
///
/// ```
/// use sinew::{CacheKey, Segments};
///
/// struct UserId(u64);
///
/// impl CacheKey for UserId {
///     fn segments(&self, into: &mut Segments<'_>) {
///         into.push(self.0);
///     }
/// }
/// ```
///
/// Different keys must write different segments.
pub trait CacheKey {
    /// Writes the segments of this key, at least one.
    fn segments(&self, into: &mut Segments<'_>);
}

macro_rules! keys_that_are_one_segment {
    ($($t:ty),*) => {$(
        impl CacheKey for $t {
            fn segments(&self, into: &mut Segments<'_>) {
                into.push(self);
            }
        }
    )*};
}
keys_that_are_one_segment!(
    str, String, u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize
);

impl<K: CacheKey + ?Sized> CacheKey for &K {
    fn segments(&self, into: &mut Segments<'_>) {
        (**self).segments(into);
    }
}

macro_rules! keys_that_are_tuples {
    ($(($($k:ident . $i:tt),*))*) => {$(
        impl<$($k: CacheKey),*> CacheKey for ($($k,)*) {
            fn segments(&self, into: &mut Segments<'_>) {
                $(self.$i.segments(into);)*
            }
        }
    )*};
}
keys_that_are_tuples!((A.0, B.1)(A.0, B.1, C.2)(A.0, B.1, C.2, D.3));

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Path(Vec<String>);
    impl CacheKey for Path {
        fn segments(&self, into: &mut Segments<'_>) {
            for segment in &self.0 {
                into.push(segment);
            }
        }
    }

    fn build(prefix: &str, tenant: &str, space: &str, path: &[String]) -> Option<Key> {
        let scope = Scope::tenant(&Prefix::new(prefix).ok()?, &Tenant::new(tenant).ok()?);
        let path = Path(path.to_vec());
        scope.key(&Space::new(space).ok()?, &path).ok()
    }

    fn path() -> impl Strategy<Value = Vec<String>> {
        // Few letters and all the special ones, so that near-collisions are common.
        prop::collection::vec("[ab:%{}*?\\[\\]\\\\ \u{7f}\u{2003}é3A]{0,4}", 1..4)
    }

    proptest! {
        #[test]
        fn different_names_give_different_keys(
            a in ("(a_|a_b_|_|)", "[ab.-]{1,3}", "[ab.-]{1,3}", path()),
            b in ("(a_|a_b_|_|)", "[ab.-]{1,3}", "[ab.-]{1,3}", path()),
        ) {
            let first = build(&a.0, &a.1, &a.2, &a.3).unwrap();
            let second = build(&b.0, &b.1, &b.2, &b.3).unwrap();
            prop_assert_eq!(a == b, first == second, "{} {}", first.as_str(), second.as_str());
        }

        #[test]
        fn no_key_leaves_its_tenant(tenant in "[ab.-]{1,3}", other in "[ab.-]{1,3}", path in path()) {
            prop_assume!(tenant != other);
            let key = build("p_", &tenant, "user", &path).unwrap();
            let foreign = format!("p_{other}:");
            let own = format!("p_{tenant}:");
            prop_assert!(key.as_str().starts_with(&own));
            prop_assert!(!key.as_str().starts_with(&foreign));
            prop_assert!(key.lease().starts_with(&own));
            prop_assert!(!key.as_str().starts_with("p__:"), "a tenant's key in the global scope");
        }

        #[test]
        fn a_lease_never_equals_an_entry_and_shares_its_slot(path in path(), more in path()) {
            let entry = build("p_", "t", "user", &path).unwrap();
            let other = build("p_", "t", "user", &more).unwrap();
            let lease = entry.lease();
            prop_assert_ne!(lease.as_str(), other.as_str());
            // Redis hashes what stands between the first `{` and the next `}`.
            let tag = lease.split_once('{').unwrap().1.split_once('}').unwrap().0;
            prop_assert_eq!(tag, entry.as_str());
            let untagged = !entry.as_str().contains(['{', '}']);
            prop_assert!(untagged);
        }

        #[test]
        fn decoding_a_segment_gives_back_what_was_pushed(text in "\\PC{0,20}|[\\x00-\\x7f]{0,20}") {
            let key = build("p_", "t", "user", std::slice::from_ref(&text)).unwrap();
            let encoded = key.as_str().strip_prefix("p_t:user:").unwrap();
            prop_assert_eq!(percent_decode(encoded), text.into_bytes());
        }

        #[test]
        fn globs_match_like_their_regular_expression(glob in "[ab*?]{0,6}", text in "[ab]{0,8}") {
            let expected = naive(glob.as_bytes(), text.as_bytes());
            prop_assert_eq!(glob_matches(glob.as_bytes(), text.as_bytes()), expected);
        }
    }

    fn percent_decode(text: &str) -> Vec<u8> {
        let (mut out, bytes) = (Vec::new(), text.as_bytes());
        let mut i = 0;
        while i < bytes.len() {
            if bytes[i] == b'%' {
                out.push(u8::from_str_radix(&text[i + 1..i + 3], 16).unwrap());
                i += 3;
            } else {
                out.push(bytes[i]);
                i += 1;
            }
        }
        out
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
    fn the_formats_of_the_services_being_replaced_are_kept() {
        let prefix = Prefix::new("RentTracker_").unwrap();
        let tenant = Scope::tenant(&prefix, &Tenant::new("tenant123").unwrap());
        let property = Space::new("property").unwrap();
        let key = |k: &dyn Fn() -> Result<Key>| k().unwrap().as_str().to_owned();
        assert_eq!(key(&|| tenant.key(&property, &456)), "RentTracker_tenant123:property:456");
        assert_eq!(key(&|| tenant.key(&property, "list")), "RentTracker_tenant123:property:list");
        assert_eq!(
            key(&|| tenant.key(&property, &(456, "payments", "list"))),
            "RentTracker_tenant123:property:456:payments:list"
        );
        let billing = Scope::unscoped(&Prefix::new("BillingService_").unwrap(), Tenancy::Single);
        let space = Space::new("billing").unwrap();
        assert_eq!(
            key(&|| billing.key(&space, &("summary", 7))),
            "BillingService_billing:summary:7"
        );
    }

    #[test]
    fn bad_names_are_rejected_with_the_rule() {
        let long = "a".repeat(65);
        for bad in ["", "_", "a_b", "a:b", "a b", "ä", "a{b}", "a*", long.as_str()] {
            let error = Tenant::new(bad).unwrap_err().to_string();
            assert!(error.contains("expected 1 to 64 of"), "{error}");
        }
        for bad in ["x", "a:_", "ä_", long.as_str()] {
            assert!(Prefix::new(bad).is_err(), "{bad}");
        }
        for word in RESERVED_SPACES {
            assert!(Space::new(word).is_err());
        }
        assert!(Tenant::new("x".repeat(10_000)).unwrap_err().to_string().len() < 200);
    }

    #[test]
    fn a_key_is_rejected_above_1024_bytes_and_taken_at_1024() {
        let scope = Scope::unscoped(&Prefix::default(), Tenancy::Single);
        let space = Space::new("s").unwrap();
        assert!(scope.key(&space, &"x".repeat(1022)).is_ok());
        let error = scope.key(&space, &"x".repeat(1023)).unwrap_err();
        assert!(error.to_string().contains("1025 bytes"), "{error}");
    }
}
