//! Keys: built in one place, passed as types.
//!
//! A key reads `{prefix}{tenant}:{space}:{segment}:…`, without the tenant part in a
//! single-tenant deployment. Building one is injective: two different
//! (prefix, tenant, space, segments) never give the same key, whatever a user types.

mod flag;
mod job;
mod path;
mod session;
mod stream;

use std::fmt::{self, Write as _};
use std::sync::Arc;

pub(crate) use flag::{FlagKeys, PlainFlags};
pub(crate) use job::QueueKeys;
pub(crate) use path::Path;
use path::Start;
pub(crate) use session::{Code, SessionKeys, SessionSlot, SlotKeys};
pub(crate) use stream::{GroupKeys, PartitionKeys};

use super::error::{Error, Result};
use super::name::{LimitName, Prefix, Space, Tenancy, Tenant};
use super::packed::Packed;

/// The longest key, in bytes. Longer ones are rejected, never cut or hashed.
pub const KEY_LEN_MAX: usize = 1024;

/// The beginning of all keys of one tenant: prefix and tenant part.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scope(Arc<str>);

impl Scope {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

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

    #[cfg(test)]
    pub(crate) fn key<K: CacheKey + ?Sized>(&self, space: &Space, key: &K) -> Result<Key> {
        self.key_at(&self.root(space), key)
    }

    /// The same, where the root is known.
    pub(crate) fn key_at<K: CacheKey + ?Sized>(&self, root: &str, key: &K) -> Result<Key> {
        let mut text = String::with_capacity(root.len() + 32);
        text.push_str(root);
        key.segments(&mut Segments(Form::Text(&mut text)));
        if text.len() == root.len() {
            return Err(Error::rejected("empty key: expected at least one segment"));
        }
        self.checked(text, "key")
    }

    fn checked(&self, text: String, what: &str) -> Result<Key> {
        if text.len() > KEY_LEN_MAX {
            return Err(Error::rejected(format!(
                "{what} of {} bytes is too long: expected at most {KEY_LEN_MAX} with prefix, tenant and cache",
                text.len()
            )));
        }
        Ok(Key { text, scope_len: self.0.len(), packed: None })
    }

    /// The keys of a lock.
    pub(crate) fn lock(&self, name: &str) -> Result<LockKeys> {
        if name.is_empty() {
            return Err(Error::rejected("a lock without a name: expected some text"));
        }
        let mut tagged = self.lock_root();
        // Writing to a String cannot fail.
        let _ = Encoder(&mut tagged).write_str(name);
        tagged.push('}');
        // With the longest of its endings.
        let len = tagged.len() + ":holders".len();
        if len > KEY_LEN_MAX {
            return Err(Error::rejected(format!(
                "a lock's key of {len} bytes is too long: expected at most {KEY_LEN_MAX} with prefix and tenant"
            )));
        }
        Ok(LockKeys {
            holders: format!("{tagged}:holders"),
            line: format!("{tagged}:line"),
            waiters: format!("{tagged}:waiters"),
            claim: format!("{tagged}:claim"),
            fence: format!("{tagged}:fence"),
            name: name.into(),
        })
    }

    /// What all keys of locks begin with.
    pub(crate) fn lock_root(&self) -> String {
        format!("{}lock:{{", self.0)
    }

    /// Where to look for locks that are held, in Redis's own syntax.
    pub(crate) fn lock_glob(&self) -> String {
        format!("{}*}}:holders", self.lock_root())
    }

    /// The name of a lock whose key was found there.
    #[cfg(feature = "redis")]
    pub(crate) fn lock_named(&self, key: &str) -> Option<String> {
        let name = key.strip_prefix(&self.lock_root())?.strip_suffix("}:holders")?;
        let decoded = percent_encoding::percent_decode_str(name).decode_utf8().ok()?;
        Some(decoded.into_owned())
    }

    /// What the channels of all processes begin with, on which waiters for locks are woken. It has
    /// the prefix, so that one rule of an ACL covers it.
    pub(crate) fn lock_channel(prefix: &Prefix) -> String {
        format!("{}_:lock-wake:", prefix.0)
    }

    /// What all keys of a cache begin with, before the colon.
    pub(crate) fn root(&self, space: &Space) -> String {
        [&*self.0, &*space.0].concat()
    }

    /// The hash of a cache's tags, wherever its name leads: each tenant's elsewhere.
    pub(crate) fn tags(&self, space: &Space) -> TagsKey {
        TagsKey(format!("{0}tag:{{{0}{1}}}", self.0, space.0).into())
    }

    /// What is kept of a subject under a limit.
    pub(crate) fn limit(&self, limit: &LimitName, subject: &Path) -> Result<Key> {
        self.limit_key("rate-limit", limit, subject)
    }

    /// Who holds the places of a subject under a concurrency limit.
    pub(crate) fn limit_places(&self, limit: &LimitName, subject: &Path) -> Result<Key> {
        self.limit_key("rate-limit-places", limit, subject)
    }

    fn limit_key(&self, space: &str, limit: &LimitName, subject: &Path) -> Result<Key> {
        let mut text = format!("{}{space}:{}", self.0, limit.0);
        let root_len = text.len();
        subject.write(&mut text);
        if text.len() == root_len {
            return Err(Error::rejected("empty subject: expected at least one segment"));
        }
        // How long it is in all is not known: nothing was written beyond that.
        if text.len() > KEY_LEN_MAX {
            return Err(Error::rejected(format!(
                "a limit's key is too long: expected at most {KEY_LEN_MAX} bytes with prefix, tenant and limit"
            )));
        }
        Ok(Key { text, scope_len: self.0.len(), packed: None })
    }

    /// Where processes that share limits say that they live. No limit's key: it has no subject.
    pub(crate) fn limit_processes(prefix: &Prefix) -> String {
        format!("{}_:rate-limit:processes", prefix.0)
    }

    /// Where limits are defined, and who has done so: one slot. No limit's keys: the one has no
    /// subject, and no subject is written with the braces of the other.
    pub(crate) fn limit_definitions(prefix: &Prefix) -> [String; 2] {
        let definitions = format!("{}_:rate-limit:definitions", prefix.0);
        let changes = format!("{}_:rate-limit:changes:{{{definitions}}}", prefix.0);
        [definitions, changes]
    }

    /// A counter that belongs to a cache.
    pub(crate) fn counter(&self, space: &Space, name: &str) -> Result<Key> {
        let mut text = format!("{}counter:{}", self.0, space.0);
        if name.is_empty() {
            return Err(Error::rejected("a counter without a name: expected some text"));
        }
        Segments(Form::Text(&mut text)).push(name);
        self.checked(text, "a counter's key")
    }
}

/// A whole key. It never contains a hash tag, so it may have companions.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    // Not shared: a hit builds one and throws it away.
    text: String,
    /// Length of prefix and tenant part.
    scope_len: usize,
    packed: Option<Box<Packed>>,
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

    /// The same key, which also knows what it has after its root in a map in this process.
    pub(crate) fn with_packed(self, packed: Option<Packed>) -> Self {
        Self { packed: packed.map(Box::new), ..self }
    }

    pub(crate) fn packed(&self) -> Option<&Packed> {
        self.packed.as_deref()
    }

    /// The lease that belongs to this entry: same tenant, same cluster slot.
    pub(crate) fn lease(&self) -> String {
        format!("{}lease:{{{}}}", &self.text[..self.scope_len], self.text)
    }

    /// The version of this entry, where it has one: same tenant, same slot.
    pub(crate) fn version(&self) -> String {
        format!("{}version:{{{}}}", &self.text[..self.scope_len], self.text)
    }
}

/// The key of a cache's tags.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TagsKey(Arc<str>);

impl TagsKey {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The keys of a lock: one hash tag, hence one slot.
#[derive(Clone, Debug)]
pub(crate) struct LockKeys {
    // Each as a whole: a step sends most of them, and a lock is asked for more than once.
    holders: String,
    line: String,
    waiters: String,
    claim: String,
    fence: String,
    name: Box<str>,
}

impl LockKeys {
    pub(crate) fn holders(&self) -> &str {
        &self.holders
    }

    pub(crate) fn line(&self) -> &str {
        &self.line
    }

    pub(crate) fn waiters(&self) -> &str {
        &self.waiters
    }

    pub(crate) fn claim(&self) -> &str {
        &self.claim
    }

    pub(crate) fn fence(&self) -> &str {
        &self.fence
    }

    /// As its user calls it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// Receives the segments of a key, in order.
pub struct Segments<'a>(pub(super) Form<'a>);

/// What becomes of the segments.
pub(super) enum Form<'a> {
    /// The text that names an entry in the store.
    Text(&'a mut String),
    /// The same, and no more of it than shows that it is too long.
    Start(&'a mut String),
    /// A few words, for a map in this process.
    Packed(&'a mut Packed),
}

impl Segments<'_> {
    /// Adds one segment. Any text is fine: what has a meaning in keys or patterns is percent-encoded.
    ///
    /// Numbers and text are faster by their own [`CacheKey::segments`], which skips the machinery of
    /// [`Display`](fmt::Display) where an entry is in this process.
    pub fn push(&mut self, segment: impl fmt::Display) {
        match &mut self.0 {
            Form::Text(text) => {
                text.push(':');
                // Writing to a String cannot fail.
                let _ = write!(Encoder(text), "{segment}");
            }
            Form::Start(text) if text.len() > KEY_LEN_MAX => {}
            Form::Start(text) => {
                text.push(':');
                // Fails where it is too long, and need not go on then.
                let _ = write!(Start(text), "{segment}");
            }
            Form::Packed(packed) => packed.display(&segment),
        }
    }

    #[inline]
    fn push_str(&mut self, segment: &str) {
        match &mut self.0 {
            Form::Text(_) | Form::Start(_) => self.push(segment),
            Form::Packed(packed) => packed.text(segment.as_bytes()),
        }
    }

    #[inline]
    fn push_number(&mut self, number: impl itoa::Integer + TryInto<u64>) {
        match &mut self.0 {
            Form::Text(text) => {
                text.push(':');
                text.push_str(itoa::Buffer::new().format(number));
            }
            Form::Start(_) => self.push(itoa::Buffer::new().format(number)),
            Form::Packed(packed) => match number.try_into() {
                Ok(number) => packed.number(number),
                Err(_) => packed.text(itoa::Buffer::new().format(number).as_bytes()),
            },
        }
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
pub(super) fn has_meaning(c: char) -> bool {
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
///         self.0.segments(into);
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
            #[inline]
            fn segments(&self, into: &mut Segments<'_>) {
                into.push_str(self);
            }
        }
    )*};
}
keys_that_are_one_segment!(str, String);

macro_rules! keys_that_are_numbers {
    ($($t:ty),*) => {$(
        impl CacheKey for $t {
            #[inline]
            fn segments(&self, into: &mut Segments<'_>) {
                into.push_number(*self);
            }
        }
    )*};
}
keys_that_are_numbers!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize);

impl CacheKey for std::net::IpAddr {
    fn segments(&self, into: &mut Segments<'_>) {
        into.push(self);
    }
}

impl<K: CacheKey + ?Sized> CacheKey for &K {
    #[inline]
    fn segments(&self, into: &mut Segments<'_>) {
        (**self).segments(into);
    }
}

macro_rules! keys_that_are_tuples {
    ($(($($k:ident . $i:tt),*))*) => {$(
        impl<$($k: CacheKey),*> CacheKey for ($($k,)*) {
            #[inline]
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
        /// What can be taken apart again was put together injectively.
        #[test]
        fn a_key_says_what_it_was_built_from(
            prefix in "(a_|a_b_|_|)", tenant in "[ab.-]{0,2}[ab-]", space in "[ab.-]{0,2}[ab-]", path in path(),
        ) {
            let key = build(&prefix, &tenant, &space, &path).unwrap();
            let (head, rest) = key.as_str().split_once(':').unwrap();
            let (found_space, rest) = rest.split_once(':').unwrap();
            let segments: Vec<Vec<u8>> = rest.split(':').map(percent_decode).collect();
            let tenant_at = head.rfind('_').map_or(0, |last| last + 1);
            prop_assert_eq!(&head[..tenant_at], prefix);
            prop_assert_eq!(&head[tenant_at..], tenant);
            prop_assert_eq!(found_space, space);
            prop_assert_eq!(segments, path.into_iter().map(String::into_bytes).collect::<Vec<_>>());
        }

        #[test]
        fn a_key_without_tenant_says_what_it_was_built_from(
            prefix in "(a_|a_b_|_|)", space in "[ab.-]{0,2}[ab-]", path in path(),
        ) {
            for tenancy in [Tenancy::Single, Tenancy::Multi] {
                let scope = Scope::unscoped(&Prefix::new(&prefix).unwrap(), tenancy);
                let key = scope.key(&Space::new(&space).unwrap(), &Path(path.clone())).unwrap();
                let rest = match tenancy {
                    Tenancy::Single => key.as_str().strip_prefix(&prefix).unwrap(),
                    // No tenant is called `_`.
                    Tenancy::Multi => key.as_str().strip_prefix(&format!("{prefix}_:")).unwrap(),
                };
                let (found_space, rest) = rest.split_once(':').unwrap();
                let segments: Vec<Vec<u8>> = rest.split(':').map(percent_decode).collect();
                prop_assert_eq!(found_space, &space);
                prop_assert_eq!(segments, path.iter().map(|s| s.clone().into_bytes()).collect::<Vec<_>>());
            }
        }

        #[test]
        fn no_key_leaves_its_tenant(tenant in "[ab.-]{0,2}[ab-]", other in "[ab.-]{0,2}[ab-]", path in path()) {
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
        fn a_path_is_written_as_its_segments(path in path(), number: u64) {
            let scope = Scope::tenant(&Prefix::new("p_").unwrap(), &Tenant::new("t").unwrap());
            let limit = LimitName::new("calls").unwrap();
            let whole = scope.limit(&limit, &super::Path::of(&(number, Path(path.clone())))).unwrap();
            let expected = build("p_", "t", "x", &[vec![number.to_string()], path].concat()).unwrap();
            prop_assert_eq!(
                whole.as_str().strip_prefix("p_t:rate-limit:calls:"),
                expected.as_str().strip_prefix("p_t:x:")
            );
        }

        #[test]
        fn decoding_a_segment_gives_back_what_was_pushed(text in "\\PC{0,20}|[\\x00-\\x7f]{0,20}") {
            let key = build("p_", "t", "user", std::slice::from_ref(&text)).unwrap();
            let encoded = key.as_str().strip_prefix("p_t:user:").unwrap();
            prop_assert_eq!(percent_decode(encoded), text.into_bytes());
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
    fn a_key_is_rejected_above_1024_bytes_and_taken_at_1024() {
        let scope = Scope::unscoped(&Prefix::default(), Tenancy::Single);
        let space = Space::new("s").unwrap();
        assert!(scope.key(&space, &"x".repeat(1022)).is_ok());
        let error = scope.key(&space, &"x".repeat(1023)).unwrap_err();
        assert!(error.to_string().contains("1025 bytes"), "{error}");
    }
}
