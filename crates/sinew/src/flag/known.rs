//! What this process knows of an environment's flags, and how it comes to know it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::backend::{Backend as _, Stored};
use super::compiled::{Compiled, Rules};
use super::document::{Document, Segment, millis};
use super::engine::Engine;
use super::overlays::Overlays;
use super::{Flag, FlagsState};
use crate::kernel::clock::UnixMillis;
use crate::kernel::error::{Error, Result};
use crate::kernel::key::{FlagKeys, PlainFlags};

/// What is known may be out of date once the store has not answered for so long.
const STALE_AFTER_MS: u64 = 10_000;
/// Longer documents are read where they hold up no one.
const READ_HERE_LEN_MAX: usize = 32 << 10;
/// So much of what is left out of a document is told.
const LEFT_OUT_TOLD_MAX: usize = 10;

/// What all clones of one handle share.
pub(super) struct Shared {
    pub(super) engine: Arc<Engine>,
    pub(super) keys: FlagKeys,
    pub(super) plain: PlainFlags,
    /// Whoever writes by this handle: one at a time, or they would only be in each other's way.
    pub(super) writing: tokio::sync::Mutex<()>,
    // Read by every evaluation, replaced with every change.
    known: ArcSwap<Known>,
    /// Held while that is replaced: how often this process has written. What was read of the store before
    /// a write of its own must not take the place of what it has written.
    writes: Mutex<u64>,
    /// When the store last said which flags there are.
    contact_ms: AtomicU64,
    /// Moves on whenever the revision does.
    revisions: watch::Sender<u64>,
    disk: Option<watch::Sender<Option<Stored>>>,
}

/// So many flags are named in a line of the log.
const NAMES_MAX: usize = 20;

/// What is known at some moment.
pub(super) struct Known {
    pub(super) rules: Rules,
    pub(super) book: Arc<Book>,
    revision: Box<str>,
    origin: Origin,
    /// When time alone has changed the revision last, and when it does next.
    last_turn: Option<UnixMillis>,
    next_turn: Option<UnixMillis>,
}

/// Where it is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Nothing is known.
    Nothing,
    /// A copy on disk.
    Disk,
    Store,
    /// The store, which has none any more.
    Gone(UnixMillis),
}

/// A version of the document, read.
pub(super) struct Book {
    pub(super) version: u64,
    pub(super) flags: BTreeMap<String, Arc<Flag>>,
    pub(super) segments: BTreeMap<String, Segment>,
    compiled: Arc<Compiled>,
    /// When flags begin, end and expire, in order.
    turns: Box<[UnixMillis]>,
    body: Bytes,
    /// Of the body.
    hash: u64,
}

impl Book {
    pub(super) fn empty() -> Self {
        Self::of(Document::default(), 0, Bytes::new())
    }

    /// # Errors
    /// `Corrupt` where it is no document at all.
    pub(super) async fn read(stored: Stored) -> Result<Self> {
        if stored.body.len() <= READ_HERE_LEN_MAX {
            return Self::read_now(stored);
        }
        let reading = tokio::task::spawn_blocking(move || Self::read_now(stored));
        reading.await.unwrap_or_else(|_| Err(Error::corrupt("expected flags that can be read")))
    }

    fn read_now(stored: Stored) -> Result<Self> {
        let (document, left_out) = Document::read(&stored.body)?;
        let more = left_out.len().saturating_sub(LEFT_OUT_TOLD_MAX);
        for why in left_out.iter().take(LEFT_OUT_TOLD_MAX) {
            tracing::warn!(
                version = stored.version,
                why,
                more,
                "what is written as a flag is left out"
            );
        }
        Ok(Self::of(document, stored.version, stored.body))
    }

    fn of(document: Document, version: u64, body: Bytes) -> Self {
        let compiled = Arc::new(Compiled::new(&document, version));
        let flags: BTreeMap<String, Arc<Flag>> =
            document.flags.into_iter().map(|(key, flag)| (key, Arc::new(flag))).collect();
        let turns = flags.values().flat_map(|flag| [flag.on_at, flag.off_at, flag.expires_at]);
        let mut turns: Vec<UnixMillis> = turns.flatten().map(millis).collect();
        turns.sort_unstable();
        turns.dedup();
        let mut hasher = DefaultHasher::new();
        body.hash(&mut hasher);
        let (segments, turns, hash) = (document.segments, turns.into(), hasher.finish());
        Self { version, flags, segments, compiled, turns, body, hash }
    }

    fn stored(&self) -> Stored {
        Stored { version: self.version, body: self.body.clone() }
    }

    /// How many of its turns have come.
    fn turns_by(&self, now: UnixMillis) -> usize {
        self.turns.partition_point(|turn| *turn <= now)
    }
}

impl Shared {
    pub(super) fn new(
        engine: Arc<Engine>,
        keys: FlagKeys,
        plain: PlainFlags,
        disk: Option<watch::Sender<Option<Stored>>>,
    ) -> Self {
        let now = engine.clock.wall();
        let known = Known::new(Arc::new(Book::empty()), Overlays::default(), Origin::Nothing, now);
        Self {
            engine,
            keys,
            plain,
            writing: tokio::sync::Mutex::default(),
            known: ArcSwap::from_pointee(known),
            writes: Mutex::default(),
            contact_ms: AtomicU64::new(0),
            revisions: watch::Sender::new(0),
            disk,
        }
    }

    #[inline]
    pub(super) fn known(&self) -> arc_swap::Guard<Arc<Known>> {
        self.known.load()
    }

    pub(super) fn revisions(&self) -> watch::Receiver<u64> {
        self.revisions.subscribe()
    }

    /// Also where time alone has changed it and no one has noticed: it is never older than an evaluation.
    pub(super) fn revision(&self) -> String {
        let holds = self.known().holds_at(self.engine.clock.wall());
        if !holds {
            self.turn();
        }
        self.known().revision.to_string()
    }

    /// Whether what is known may be out of date.
    #[inline]
    pub(super) fn is_stale(&self, known: &Known, now: UnixMillis) -> bool {
        match known.origin {
            Origin::Disk | Origin::Gone(_) => true,
            Origin::Nothing | Origin::Store => self.is_out_of_touch(now),
        }
    }

    #[inline]
    fn is_out_of_touch(&self, now: UnixMillis) -> bool {
        let contact_ms = self.contact_ms.load(Ordering::Relaxed);
        !self.engine.backend.is_local() && now.0.saturating_sub(contact_ms) > STALE_AFTER_MS
    }

    pub(super) fn state(&self) -> FlagsState {
        match self.known().origin {
            Origin::Nothing => FlagsState::Defaults,
            Origin::Disk => FlagsState::Disk,
            Origin::Store | Origin::Gone(_) if self.is_out_of_touch(self.engine.clock.wall()) => {
                let contact_ms = self.contact_ms.load(Ordering::Relaxed);
                FlagsState::Stale { since: time_of(UnixMillis(contact_ms)) }
            }
            Origin::Gone(at) => FlagsState::Lost { since: time_of(at) },
            Origin::Store => FlagsState::Live,
        }
    }

    /// The document that is known, if there ever was one.
    pub(super) fn last_known(&self) -> Option<Stored> {
        let known = self.known();
        (known.book.version > 0).then(|| known.book.stored())
    }

    /// Asks the store for the flags, and takes what it says: also an older version, after a failover that
    /// has lost the newer one.
    pub(super) async fn fetch(&self) -> Result<()> {
        loop {
            let writes = *self.writes.lock();
            let stored = self.engine.backend.document(&self.keys).await?;
            let is_taken = match stored {
                None => self.take_none(writes),
                Some(stored) if self.is_known(&stored) => true,
                Some(stored) => self.take(Book::read(stored).await?, writes),
            };
            if is_taken {
                self.is_in_touch();
                return Ok(());
            }
        }
    }

    /// Asks for their version only, and for them where it is another.
    pub(super) async fn poll(&self) -> Result<()> {
        let version = self.engine.backend.version(&self.keys).await?;
        if self.is_from_store(version) {
            self.is_in_touch();
            return Ok(());
        }
        self.fetch().await
    }

    /// Whether that is what is known.
    fn is_from_store(&self, version: Option<u64>) -> bool {
        let known = self.known();
        match (known.origin, version) {
            (Origin::Store, version) => known.book.version == version.unwrap_or(0),
            (Origin::Gone(_), None) => true,
            _ => false,
        }
    }

    /// By all that it says: after a failover that has lost a version, another may have its number.
    fn is_known(&self, stored: &Stored) -> bool {
        self.is_from_store(Some(stored.version)) && self.known().book.body == stored.body
    }

    fn is_in_touch(&self) {
        self.contact_ms.store(self.engine.clock.wall().0, Ordering::Relaxed);
    }

    /// Takes what was read, unless this process has written since.
    fn take(&self, book: Book, writes: u64) -> bool {
        let writes_now = self.writes.lock();
        if *writes_now != writes {
            return false;
        }
        let known = self.known.load_full();
        self.tell_back(&known, &book);
        self.keep_copy(&book);
        self.publish(Arc::new(book), known.rules.overlays.clone(), Origin::Store);
        true
    }

    /// After a loss, whoever changes a flag first decides what comes back, also if they knew less; after a
    /// failover, what the new primary has counts, also if it is older.
    fn tell_back(&self, known: &Known, found: &Book) {
        let was_lost = matches!(known.origin, Origin::Gone(_));
        let missing = known.book.flags.iter().filter(|(key, flag)| match found.flags.get(*key) {
            Some(found) => found.revision < flag.revision,
            // Else someone may have removed it.
            None => was_lost,
        });
        let missing: Vec<&str> = missing.map(|(key, _)| &**key).collect();
        let (key, version) = (self.keys.document(), found.version);
        if !missing.is_empty() {
            tracing::warn!(
                key,
                version,
                missing = missing.len(),
                first = ?&missing[..missing.len().min(NAMES_MAX)],
                was_lost,
                "the store has other flags than were known here: some are older, or did not come back after a loss"
            );
        } else if was_lost {
            tracing::info!(key, version, "the store has flags again after it had lost them");
        }
    }

    /// Without a document, an environment that never had one has no flags; of one that had, the last that
    /// were known stay.
    fn take_none(&self, writes: u64) -> bool {
        let writes_now = self.writes.lock();
        if *writes_now != writes {
            return false;
        }
        let known = self.known.load_full();
        let origin = match known.origin {
            Origin::Nothing => Origin::Store,
            Origin::Store if known.book.version == 0 => return true,
            Origin::Gone(_) => return true,
            Origin::Store | Origin::Disk => {
                let key = self.keys.document();
                let flags = known.book.flags.len();
                tracing::warn!(
                    key,
                    flags,
                    "the store has lost the flags: the last known hold, and the next change puts them back"
                );
                Origin::Gone(self.engine.clock.wall())
            }
        };
        self.publish(Arc::clone(&known.book), known.rules.overlays.clone(), origin);
        true
    }

    /// What this process has written itself counts at once.
    pub(super) fn learn(&self, book: &Arc<Book>) {
        let mut writes = self.writes.lock();
        *writes += 1;
        self.is_in_touch();
        let known = self.known.load_full();
        // Of two writes, the answer to the first may come last. Where the store is behind what is known,
        // it tells of this write, and is asked.
        if known.origin != Origin::Store || known.book.version < book.version {
            self.tell_back(&known, book);
            self.keep_copy(book);
            self.publish(Arc::clone(book), known.rules.overlays.clone(), Origin::Store);
        }
    }

    /// What was found on disk counts until the store answers.
    pub(super) fn recall(&self, book: Book) {
        let _writes = self.writes.lock();
        self.publish(Arc::new(book), Overlays::default(), Origin::Disk);
    }

    /// Changes what is known of the plain keys.
    pub(super) fn overlay(&self, change: impl FnOnce(&mut Overlays)) {
        let _writes = self.writes.lock();
        let known = self.known.load_full();
        let mut overlays = known.rules.overlays.clone();
        change(&mut overlays);
        self.publish(Arc::clone(&known.book), overlays, known.origin);
    }

    /// Time alone has changed what flags are.
    pub(super) fn turn(&self) {
        self.overlay(|_| {});
    }

    /// Comes back when a flag begins, ends or expires, or a plain key ends; at once where that came to pass
    /// and no one has made a turn since. Cancel-safe.
    pub(super) async fn until_turn(&self) {
        let next_turn = self.known().next_turn;
        match next_turn {
            Some(turn) => self.sleep_until(turn).await,
            None => std::future::pending().await,
        }
    }

    /// By wall time, which may be set meanwhile: whoever waits for long looks at it again.
    pub(super) async fn sleep_until(&self, at: UnixMillis) {
        let clock = &self.engine.clock;
        let left = Duration::from_millis(at.0.saturating_sub(clock.wall().0));
        clock.sleep_until(clock.now().after(left)).await;
    }

    /// The caller holds `writes`.
    fn publish(&self, book: Arc<Book>, overlays: Overlays, origin: Origin) {
        let known = Known::new(book, overlays, origin, self.engine.clock.wall());
        let known = Arc::new(known);
        let before = self.known.swap(Arc::clone(&known));
        if before.revision != known.revision {
            self.revisions.send_modify(|count| *count += 1);
        }
    }

    fn keep_copy(&self, book: &Book) {
        if let Some(disk) = &self.disk {
            disk.send_replace(Some(book.stored()));
        }
    }
}

impl Known {
    fn new(book: Arc<Book>, overlays: Overlays, origin: Origin, now: UnixMillis) -> Self {
        let revision = revision(&book, &overlays, now).into();
        let (last_turn, next_turn) = turns_around(&book, &overlays, now);
        let rules = Rules { compiled: Arc::clone(&book.compiled), overlays };
        Self { rules, book, revision, origin, last_turn, next_turn }
    }

    /// Whether the revision is still that of this moment. Wall time may have been set back, too.
    fn holds_at(&self, now: UnixMillis) -> bool {
        self.last_turn.is_none_or(|turn| turn <= now)
            && self.next_turn.is_none_or(|turn| now < turn)
    }
}

/// The last turn that has come, and the next.
fn turns_around(
    book: &Book,
    overlays: &Overlays,
    now: UnixMillis,
) -> (Option<UnixMillis>, Option<UnixMillis>) {
    let (come, ahead) = book.turns.split_at(book.turns_by(now));
    let (mut last, mut next) = (come.last().copied(), ahead.first().copied());
    for at in overlays.iter().filter_map(|(.., expires_at)| expires_at) {
        if at <= now {
            last = last.max(Some(at));
        } else {
            next = Some(next.map_or(at, |next| next.min(at)));
        }
    }
    (last, next)
}

/// The same in all processes that know the same, and another wherever a flag may be something else.
fn revision(book: &Book, overlays: &Overlays, now: UnixMillis) -> String {
    let turns = book.turns_by(now);
    let holding = overlays.iter().filter(|(.., expires_at)| expires_at.is_none_or(|at| now < at));
    // They come in no order, hence the sum.
    let told = holding.fold(book.hash, |sum: u64, (flag, user, value, _)| {
        let mut hasher = DefaultHasher::new();
        (flag, user, value).hash(&mut hasher);
        sum.wrapping_add(hasher.finish())
    });
    format!("{:x}-{turns:x}-{told:x}", book.version)
}

/// The time of a whole millisecond.
pub(super) fn time_of(at: UnixMillis) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(at.0)).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use futures_util::FutureExt as _;
    use tracing::Level;

    use super::*;
    use crate::flag::write::Unreadable;
    use crate::flag::{MemoryBackend, Store};
    use crate::kernel::clock::{Clock, ManualClock};
    use crate::kernel::key::Scope;
    use crate::kernel::name::{EnvName, Prefix, Tenancy};

    fn flags() -> (Shared, ManualClock) {
        let (clock, hands) = Clock::manual();
        let store = Store::Memory(MemoryBackend::new(clock.clone()));
        let scope = Scope::unscoped(&Prefix::default(), Tenancy::Single);
        let keys = scope.flags(&EnvName::new("prod").unwrap());
        (Shared::new(Engine::new(store, clock), keys, scope.plain_flags(), None), hands)
    }

    #[test]
    fn time_alone_makes_another_revision_also_where_no_one_has_noticed() {
        let (flags, hands) = flags();
        let now = flags.engine.clock.wall();
        let after = |millis: u64| UnixMillis(now.0 + millis);
        let mut flag = Flag::bool();
        flag.off_at = Some(time_of(after(1_000)));
        let mut document = Document::default();
        document.flags.insert("ui".to_owned(), flag);
        flags.learn(&Arc::new(Book::of(document, 1, Bytes::new())));
        flags.overlay(|overlays| overlays.set("ui", None, Some((true, Some(after(2_000))))));

        let mut changes = flags.revisions();
        let mut before = flags.revision();
        for _ in 0..2 {
            assert!(flags.until_turn().now_or_never().is_none());
            // Whoever waits for a turn was busy when it came.
            hands.advance(Duration::from_secs(1));
            assert!(flags.until_turn().now_or_never().is_some());
            assert!(!changes.has_changed().unwrap());
            let revision = flags.revision();
            assert_ne!(revision, before);
            assert!(changes.has_changed().unwrap());
            drop(changes.borrow_and_update());
            before = revision;
        }
        hands.advance(Duration::from_secs(60));
        assert_eq!(flags.revision(), before);
        assert!(flags.until_turn().now_or_never().is_none(), "no more turns");
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged by it.
    fn log_of(act: impl FnOnce()) -> String {
        let log = Log::default();
        let writer = {
            let log = log.clone();
            move || log.clone()
        };
        let subscriber = tracing_subscriber::fmt().with_max_level(Level::INFO).with_ansi(false);
        tracing::subscriber::with_default(subscriber.with_writer(writer).finish(), act);
        let bytes = log.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// Flags by key and revision.
    fn book(version: u64, revisions: &[(&str, u64)]) -> Book {
        let mut document = Document::default();
        for (key, revision) in revisions {
            let flag = Flag { revision: *revision, ..Flag::bool() };
            document.flags.insert((*key).to_owned(), flag);
        }
        let body = document.to_json().unwrap();
        Book::of(document, version, body.into())
    }

    #[test]
    fn a_loss_and_its_end_are_told_and_how_many_flags_did_not_come_back() {
        let (flags, _) = flags();
        let writes = || *flags.writes.lock();
        let take = |version: u64, revisions: &[(&str, u64)]| {
            let book = book(version, revisions);
            log_of(|| assert!(flags.take(book, writes())))
        };
        let lose = || log_of(|| assert!(flags.take_none(writes())));
        let learn = |version: u64, revisions: &[(&str, u64)]| {
            let book = Arc::new(book(version, revisions));
            log_of(|| flags.learn(&book))
        };
        assert_eq!(learn(2, &[("one", 1), ("two", 2)]), "");
        assert_eq!(take(4, &[("two", 4)]), "", "someone has removed one and changed the other");
        // A failover has lost both.
        let told = take(2, &[("one", 1), ("two", 2)]);
        assert!(told.contains("WARN") && told.contains("missing=1"), "{told}");

        let told = lose();
        assert!(told.contains("lost the flags") && told.contains("flags=2"), "{told}");
        assert_eq!(lose(), "", "once");
        let told = take(5, &[("one", 1), ("two", 5)]);
        assert!(told.contains("INFO") && told.contains("has flags again"), "{told}");
        assert!(!told.contains("missing"), "{told}");

        // Whoever came first knew less, and this process finds it, or writes on it.
        lose();
        let told = take(6, &[("one", 1)]);
        assert!(told.contains("WARN") && told.contains("missing=1"), "{told}");
        lose();
        let told = learn(7, &[("only", 7)]);
        assert!(told.contains("WARN") && told.contains("missing=1"), "{told}");
    }

    #[test]
    fn whoever_puts_flags_back_tells_how_many() {
        for (removes, back) in [(true, "flags=1"), (false, "flags=2")] {
            let flags = Arc::new(flags().0);
            flags.engine.opened(&flags);
            // The store has none of them.
            flags.learn(&Arc::new(book(2, &[("one", 1), ("two", 2)])));
            let told = log_of(|| {
                let change = |flag: Option<&Flag>| Ok(flag.filter(|_| !removes).cloned());
                let made = flags.change("one", "bob", Unreadable::Refused, change);
                assert!(made.now_or_never().unwrap().is_ok());
            });
            assert!(told.contains("are back") && told.contains(back), "{told}");
            assert_eq!(flags.known().book.flags.len(), if removes { 1 } else { 2 });
        }
    }
}
