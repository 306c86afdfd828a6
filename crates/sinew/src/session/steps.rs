//! What the handles of one session share, and how it is read, saved and ended.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;

use super::Shared;
use super::backend::{Backend as _, Ending, Took, Whose};
use super::engine::Cause;
use super::handle::Saved;
use super::model::{
    Absence, Beginning, Begun, Change, Changes, DATA_MAX, Found, Outcome, Row, Saving, Stored,
    Times, When, check_name, check_size, millis, too_much,
};
use super::token::SessionToken;
use crate::kernel::error::{Error, Result};
use crate::kernel::key::{Code, SessionKeys, SessionSlot};

/// Enough to remove all data, and to set as many others.
const CHANGES_MAX: usize = 2 * DATA_MAX;
/// For so long after it was read, a session is taken to be live where it is still there.
const RECENT: Duration = Duration::from_secs(1);

/// What the handles of one session share.
pub(super) struct Inner {
    pub(super) shared: Arc<Shared>,
    // Held over a whole step: two at once would begin two sessions, or lose what one of them found.
    pub(super) turn: tokio::sync::Mutex<()>,
    // A plain one, held for a few map operations.
    pub(super) state: Mutex<State>,
    /// Those that were asked for first: mostly, no others are.
    keys: OnceLock<Arc<SessionKeys>>,
}

pub(super) struct State {
    pub(super) standing: Standing,
    /// Of one whose time is over here, and may not be where a session may go unused for longer.
    expired: Option<SessionToken>,
    /// What is to be saved.
    pub(super) changes: Changes,
    /// Another end, to be saved too.
    pub(super) ends_ms: Option<u64>,
    pub(super) device: Option<Box<str>>,
    pub(super) address: Option<IpAddr>,
}

pub(super) enum Standing {
    /// Nobody has asked about it.
    Unread(SessionToken),
    /// It is not stored, as far as anyone here knows. Its token once an attempt to store it has drawn one, which
    /// came to no end; or one that was chosen for it.
    New { token: Option<SessionToken>, is_chosen: bool },
    /// As it was read, and when, by the store's clock and by ours.
    Live { token: SessionToken, row: Row, now_ms: u64, read_at: Instant },
    /// It was live. For good.
    Ended,
    /// The same, by a logout of a handle of this session.
    LoggedOut,
}

impl Standing {
    /// Of one that is stored, as far as anyone here knows.
    pub(super) fn token(&self) -> Option<&SessionToken> {
        match self {
            Self::Unread(token) | Self::Live { token, .. } => Some(token),
            Self::New { .. } | Self::Ended | Self::LoggedOut => None,
        }
    }
}

/// What a save has to do.
enum Plan {
    Create(SessionToken, Beginning),
    Save {
        token: SessionToken,
        whose: Whose,
        version: u64,
        changes: Changes,
        ends_ms: Option<u64>,
        appends_to: Option<Stored>,
    },
    Done(Saved),
}

impl State {
    fn new(standing: Standing) -> Self {
        Self {
            standing,
            expired: None,
            changes: Changes::new(),
            ends_ms: None,
            device: None,
            address: None,
        }
    }

    #[cfg(feature = "axum")]
    pub(super) fn was_logged_out(&self) -> bool {
        matches!(self.standing, Standing::LoggedOut)
    }

    fn has_changes(&self) -> bool {
        !self.changes.is_empty() || self.ends_ms.is_some()
    }

    /// Nothing more is to be saved.
    pub(super) fn end(&mut self, how: Standing) {
        self.standing = how;
        self.changes.clear();
        self.ends_ms = None;
    }

    /// What was sent is saved; what was changed meanwhile is not.
    pub(super) fn settle(&mut self, sent: &Changes, ends_ms: Option<u64>) {
        self.changes.retain(|name, change| sent.get(name) != Some(change));
        if self.ends_ms == ends_ms {
            self.ends_ms = None;
        }
    }
}

pub(super) fn whose(row: &Row) -> Whose {
    match row.user {
        Some(_) => Whose::Users,
        None => Whose::Nobodys,
    }
}

/// A token for a session of nobody.
fn drawn() -> Result<SessionToken> {
    SessionToken::random(SessionSlot::new(Code::random()?))
}

impl Inner {
    pub(super) fn new(shared: &Arc<Shared>, standing: Standing) -> Self {
        Self {
            shared: Arc::clone(shared),
            turn: tokio::sync::Mutex::new(()),
            state: Mutex::new(State::new(standing)),
            keys: OnceLock::new(),
        }
    }

    pub(super) fn keys(&self, token: &SessionToken) -> Arc<SessionKeys> {
        let make = || Arc::new(self.shared.scope.session(token.slot(), token.id().0));
        let first = self.keys.get_or_init(make);
        // No two tokens of a handle have one id.
        match first.id() == token.id().0 {
            true => Arc::clone(first),
            false => make(),
        }
    }

    /// What is asked of the session as it was read, and when that was; nothing where it is not live.
    pub(super) fn with_row<T>(&self, ask: impl FnOnce(&Row, u64) -> T) -> Option<T> {
        match &self.state.lock().standing {
            Standing::Live { row, now_ms, .. } => Some(ask(row, *now_ms)),
            _ => None,
        }
    }

    /// A datum as it is here.
    pub(super) fn datum(&self, name: &str) -> Option<Bytes> {
        let state = self.state.lock();
        match state.changes.get(name) {
            Some(Change::Set { json, .. }) => return Some(json.clone()),
            Some(Change::Remove) => return None,
            None => {}
        }
        let Standing::Live { row, now_ms, .. } = &state.standing else { return None };
        let datum = row.data.get(name).filter(|datum| !datum.is_over(*now_ms));
        datum.map(|datum| datum.json.clone())
    }

    /// All of them.
    pub(super) fn data(&self) -> Option<Vec<(Box<str>, Bytes)>> {
        let state = self.state.lock();
        let Standing::Live { row, now_ms, .. } = &state.standing else { return None };
        let mut row = row.clone();
        row.apply(&state.changes, *now_ms);
        row.data.retain(|_, datum| !datum.is_over(*now_ms));
        Some(row.data.into_iter().map(|(name, datum)| (name, datum.json)).collect())
    }

    pub(super) fn set(&self, name: &str, json: Vec<u8>, ends: Option<When>) -> Result<()> {
        check_name(name)?;
        let mut state = self.state.lock();
        let before = state.changes.insert(name.into(), Change::Set { json: json.into(), ends });
        let checked = check_size(&state.changes, self.shared.engine.value_len_max);
        if checked.is_err() {
            match before {
                Some(before) => state.changes.insert(name.into(), before),
                None => state.changes.remove(name),
            };
        }
        checked
    }

    pub(super) fn remove(&self, name: &str) -> Result<()> {
        check_name(name)?;
        let mut state = self.state.lock();
        if state.changes.len() >= CHANGES_MAX && !state.changes.contains_key(name) {
            return Err(Error::rejected(format!(
                "a change too many of a session: expected at most {CHANGES_MAX} before it is saved"
            )));
        }
        state.changes.insert(name.into(), Change::Remove);
        Ok(())
    }

    /// Asks the store about the session, once.
    pub(super) async fn read(&self) -> Result<()> {
        if matches!(self.state.lock().standing, Standing::Unread(_)) {
            let _turn = self.turn.lock().await;
            self.read_in_turn().await?;
        }
        Ok(())
    }

    pub(super) async fn read_in_turn(&self) -> Result<()> {
        let token = match &self.state.lock().standing {
            Standing::Unread(token) => token.clone(),
            _ => return Ok(()),
        };
        let (keys, idle_ms) = (self.keys(&token), self.shared.settings.idle_ms);
        let standing = match self.shared.engine.load(&keys, idle_ms).await? {
            Found::Live { row, now_ms } => self.seen(&keys, token, row, now_ms).await,
            Found::Not(absence) => {
                self.state.lock().expired = (absence == Absence::Expired).then_some(token);
                Standing::New { token: None, is_chosen: false }
            }
        };
        self.state.lock().standing = standing;
        Ok(())
    }

    /// Notes that it is used, where that is due.
    async fn seen(
        &self,
        keys: &SessionKeys,
        token: SessionToken,
        mut row: Row,
        now_ms: u64,
    ) -> Standing {
        let idle_ms = self.shared.settings.idle_ms;
        if row.is_due(idle_ms, now_ms) {
            match self.shared.engine.backend.touch(keys, whose(&row), idle_ms).await {
                Ok(Some(seen_ms)) => row.see(idle_ms, seen_ms),
                // It ended between the two.
                Ok(None) => return Standing::New { token: None, is_chosen: false },
                // It is live, and whoever reads it next notes it.
                Err(error) => tracing::debug!(%error, "that a session is used could not be noted"),
            }
        }
        Standing::Live { token, row, now_ms, read_at: Instant::now() }
    }

    pub(super) async fn save(&self, only_if_unchanged: bool) -> Result<Saved> {
        {
            let state = self.state.lock();
            match &state.standing {
                Standing::Ended | Standing::LoggedOut => return Ok(Saved::Gone),
                _ if !state.has_changes() => return Ok(Saved::Unchanged),
                _ => {}
            }
        }
        let _turn = self.turn.lock().await;
        self.save_in_turn(only_if_unchanged).await
    }

    pub(super) async fn save_in_turn(&self, only_if_unchanged: bool) -> Result<Saved> {
        self.read_in_turn().await?;
        self.end_attempt().await?;
        match self.plan()? {
            Plan::Done(saved) => Ok(saved),
            Plan::Create(token, beginning) => self.begin(token, &beginning).await,
            Plan::Save { token, whose, version, changes, ends_ms, appends_to } => {
                let shared = &self.shared;
                let saving = Saving {
                    // One whose end was said may go unused until then.
                    idle_ms: if ends_ms.is_some() { 0 } else { shared.settings.idle_ms },
                    expected: only_if_unchanged.then_some(version),
                    ends: ends_ms,
                    changes: &changes,
                    len_max: shared.engine.value_len_max,
                    appends_to: appends_to.filter(|_| !only_if_unchanged),
                };
                let backend = &shared.engine.backend;
                let outcome = backend.save(&self.keys(&token), whose, &saving).await?;
                self.saved(outcome, &saving)
            }
        }
    }

    /// What an attempt before may have stored is not what there is to store now, and no one has its token.
    async fn end_attempt(&self) -> Result<()> {
        let token = match &self.state.lock().standing {
            Standing::New { token: Some(token), is_chosen: false } => token.clone(),
            _ => return Ok(()),
        };
        let how = Ending { replicas: None, ..self.shared.settings.ending() };
        self.shared.engine.backend.end(&self.keys(&token), Whose::Nobodys, how).await?;
        self.state.lock().standing = Standing::New { token: None, is_chosen: false };
        Ok(())
    }

    fn plan(&self) -> Result<Plan> {
        let mut state = self.state.lock();
        if matches!(state.standing, Standing::Ended | Standing::LoggedOut) {
            return Ok(Plan::Done(Saved::Gone));
        }
        if !state.has_changes() {
            return Ok(Plan::Done(Saved::Unchanged));
        }
        let State { standing, changes, ends_ms, device, address, .. } = &mut *state;
        match standing {
            Standing::New { token, is_chosen } => {
                // There is nothing to be removed.
                changes.retain(|_, change| matches!(change, Change::Set { .. }));
                let data = changes.clone();
                if data.is_empty() && ends_ms.is_none() {
                    return Ok(Plan::Done(Saved::Unchanged));
                }
                check_size(&data, self.shared.engine.value_len_max)?;
                let settings = &self.shared.settings;
                let beginning = Beginning {
                    user: None,
                    device: device.clone(),
                    address: *address,
                    // One whose end was said may go unused until then.
                    idle_ms: if ends_ms.is_some() { 0 } else { settings.idle_ms },
                    ends: ends_ms.map_or(When::after(settings.absolute), When::At),
                    most: None,
                    data,
                    is_chosen: *is_chosen,
                };
                let token = match token {
                    Some(token) => token.clone(),
                    None => token.insert(drawn()?).clone(),
                };
                Ok(Plan::Create(token, beginning))
            }
            Standing::Live { token, row, now_ms, read_at } => {
                let (engine, settings) = (&self.shared.engine, &self.shared.settings);
                let elapsed = read_at.elapsed();
                let now_ms = now_ms.saturating_add(millis(elapsed));
                let appends_to =
                    row.appends(changes, engine.value_len_max, settings.idle_ms, now_ms);
                Ok(Plan::Save {
                    token: token.clone(),
                    whose: whose(row),
                    version: row.version,
                    changes: changes.clone(),
                    ends_ms: *ends_ms,
                    appends_to: appends_to.filter(|_| ends_ms.is_none() && elapsed < RECENT),
                })
            }
            // It was read before, and if it had ended, that was said.
            Standing::Unread(_) | Standing::Ended | Standing::LoggedOut => {
                Ok(Plan::Done(Saved::Gone))
            }
        }
    }

    async fn begin(&self, token: SessionToken, beginning: &Beginning) -> Result<Saved> {
        let shared = &self.shared;
        let kept = shared.settings.epoch_kept();
        match shared.engine.create(&self.keys(&token), beginning, kept).await? {
            Begun::Done { made_ms, ends_ms, .. } => {
                self.begun(token, beginning, made_ms, ends_ms);
                Ok(Saved::Done)
            }
            Begun::Taken => Ok(Saved::Conflict),
            Begun::Refused => Err(Error::corrupt("a session of nobody was refused")),
        }
    }

    /// A session is there that this handle is of from now on.
    pub(super) fn begun(
        &self,
        token: SessionToken,
        beginning: &Beginning,
        made_ms: u64,
        ends_ms: u64,
    ) {
        let row = Row { ends_ms, ..beginning.row(made_ms) };
        let mut state = self.state.lock();
        let said = match beginning.ends {
            When::At(ends_ms) => Some(ends_ms),
            When::After(_) => None,
        };
        state.settle(&beginning.data, said);
        state.standing = Standing::Live { token, row, now_ms: made_ms, read_at: Instant::now() };
    }

    fn saved(&self, outcome: Outcome, saving: &Saving<'_>) -> Result<Saved> {
        let mut state = self.state.lock();
        match outcome {
            Outcome::Saved { version, times, stored } => {
                state.settle(saving.changes, saving.ends);
                if let Standing::Live { row, .. } = &mut state.standing {
                    let Times { seen_ms, ends_ms, now_ms } = times;
                    row.apply(saving.changes, now_ms);
                    (row.ends_ms, row.stored) = (ends_ms, stored);
                    if seen_ms != row.seen_ms {
                        row.see(saving.idle_ms, seen_ms);
                    }
                    // Where another has saved too, what was read is not what is there.
                    if version == row.version + 1 {
                        row.version = version;
                    }
                }
                Ok(Saved::Done)
            }
            Outcome::Appended(stored) => {
                state.settle(saving.changes, None);
                if let Standing::Live { row, now_ms, .. } = &mut state.standing {
                    row.apply(saving.changes, *now_ms);
                    row.version += u64::from(stored.is_some());
                    row.stored = stored;
                }
                Ok(Saved::Done)
            }
            Outcome::Gone => {
                state.end(Standing::Ended);
                Ok(Saved::Gone)
            }
            Outcome::Conflict => Ok(Saved::Conflict),
            Outcome::TooMuch => Err(too_much(self.shared.engine.value_len_max)),
        }
    }

    pub(super) async fn take(&self, name: &str) -> Result<Option<Bytes>> {
        let _turn = self.turn.lock().await;
        self.read_in_turn().await?;
        let (token, own) = {
            let mut state = self.state.lock();
            let own = state.changes.get(name).cloned();
            let token = match &state.standing {
                Standing::Live { token, .. } => Some(token.clone()),
                _ => None,
            };
            match token {
                // What is to be removed is no one's to take.
                Some(_) if own == Some(Change::Remove) => return Ok(None),
                Some(token) => (token, own),
                None => {
                    state.changes.remove(name);
                    return Ok(json_of(own));
                }
            }
        };
        let idle_ms = self.shared.settings.idle_ms;
        let took = self.shared.engine.backend.take(&self.keys(&token), idle_ms, name).await?;
        let mut state = self.state.lock();
        let Took::Datum { json, version } = took else {
            state.end(Standing::Ended);
            return Ok(None);
        };
        if state.changes.get(name) == own.as_ref() {
            state.changes.remove(name);
        }
        if let Standing::Live { row, .. } = &mut state.standing {
            row.data.remove(name);
            row.stored = None;
            if version == row.version + 1 {
                row.version = version;
            }
        }
        // What was set here and not saved came after what is stored.
        Ok(json_of(own).or(json))
    }

    pub(super) async fn logout(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        if let Err(error) = self.read_in_turn().await {
            tracing::debug!(%error, "a session could not be looked at before its logout");
        }
        let there = match &self.state.lock().standing {
            Standing::Live { token, row, .. } => Some((token.clone(), whose(row))),
            // It could not be looked at, and is ended all the same: a list may have it.
            Standing::Unread(token) => Some((token.clone(), Whose::Users)),
            // It may be there, where the reply was lost when it began.
            Standing::New { token: Some(token), is_chosen: false } => {
                Some((token.clone(), Whose::Nobodys))
            }
            _ => None,
        };
        let expired = self.state.lock().expired.clone().map(|token| (token, Whose::Users));
        for (token, whose) in there.into_iter().chain(expired) {
            let (engine, how) = (&self.shared.engine, self.shared.settings.ending());
            let was_live = engine.backend.end(&self.keys(&token), whose, how).await?;
            engine.count_ended(Cause::Logout, u64::from(was_live));
        }
        self.state.lock().end(Standing::LoggedOut);
        Ok(())
    }
}

fn json_of(change: Option<Change>) -> Option<Bytes> {
    match change {
        Some(Change::Set { json, .. }) => Some(json),
        _ => None,
    }
}
