//! How a session gets another id: at a login, or because it is time.

use std::net::IpAddr;
use std::sync::Arc;

use super::backend::{Backend as _, Whose};
use super::engine::Cause;
use super::handle::{Login, Saved};
use super::model::{
    Beginning, Begun, Change, Changes, Outcome, Rotation, Row, Saving, When, check_size, too_much,
};
use super::steps::{Inner, Standing, whose};
use super::token::SessionToken;
use crate::kernel::error::Result;

/// What a login finds.
enum Before {
    /// Nothing that would have to end.
    Nothing,
    /// A session of nobody, or of another user, as it was read.
    Another {
        token: SessionToken,
        row: Row,
    },
    /// One of the same user.
    Same,
    Ended,
}

/// What came to a session from the one before, after that was read.
#[derive(Default)]
struct Handed {
    changes: Changes,
    version: Option<u64>,
}

impl Inner {
    /// To be run to its end: between two steps, two sessions are there, or one whose token no one knows.
    pub(super) async fn login(&self, user: Arc<str>) -> Result<Login> {
        let _turn = self.turn.lock().await;
        self.read_in_turn().await?;
        match self.before(&user) {
            Before::Ended => Ok(Login::Gone),
            Before::Same => self.begin_anew().await,
            Before::Nothing => self.log_in(user, None).await,
            Before::Another { token, row } => self.log_in(user, Some((token, row))).await,
        }
    }

    fn before(&self, user: &Arc<str>) -> Before {
        match &self.state.lock().standing {
            Standing::Live { row, .. } if row.user.as_ref() == Some(user) => Before::Same,
            Standing::Live { token, row, .. } => {
                Before::Another { token: token.clone(), row: row.clone() }
            }
            Standing::Unread(_) | Standing::New { .. } => Before::Nothing,
            Standing::Ended | Standing::LoggedOut => Before::Ended,
        }
    }

    /// The new one first: where that fails, the one before is as it was.
    async fn log_in(&self, user: Arc<str>, before: Option<(SessionToken, Row)>) -> Result<Login> {
        let shared = &self.shared;
        let token = SessionToken::random(shared.scope.session_slot(&user))?;
        let changes = self.state.lock().changes.clone();
        let beginning = self.beginning(user, before.as_ref().map(|(_, row)| row), &changes)?;
        let kept = shared.settings.epoch_kept();
        let begun = match shared.engine.create(&self.keys(&token), &beginning, kept).await {
            Ok(begun) => begun,
            Err(error) => {
                if error.maybe_applied() {
                    self.take_back(&token).await;
                }
                return Err(error);
            }
        };
        let Begun::Done { made_ms, ends_ms, .. } = begun else { return Ok(Login::Refused) };
        let handed = match before {
            None => Ok(Some(Handed::default())),
            Some((old, row)) => self.hand_over(&old, &row, &token, &changes).await,
        };
        match handed {
            Ok(Some(handed)) => {
                self.begun(token, &beginning, made_ms, ends_ms);
                self.logged_in(&changes, &handed);
                Ok(Login::Done)
            }
            Ok(None) => {
                self.take_back(&token).await;
                self.state.lock().end(Standing::Ended);
                Ok(Login::Gone)
            }
            Err(error) => {
                self.take_back(&token).await;
                Err(error)
            }
        }
    }

    fn beginning(
        &self,
        user: Arc<str>,
        before: Option<&Row>,
        changes: &Changes,
    ) -> Result<Beginning> {
        let (settings, engine) = (&self.shared.settings, &self.shared.engine);
        // What another user has left there is not this one's.
        let nobodys = before.filter(|row| row.user.is_none());
        let now_ms = self.with_row(|_, now_ms| now_ms).unwrap_or_default();
        let mut data = nobodys.map_or_else(Changes::new, |row| row.as_changes(now_ms));
        data.extend(changes.iter().map(|(name, change)| (name.clone(), change.clone())));
        data.retain(|_, change| matches!(change, Change::Set { .. }));
        check_size(&data, engine.value_len_max)?;
        let (device, address) = self.whence(nobodys);
        Ok(Beginning {
            user: Some(user),
            device,
            address,
            idle_ms: settings.idle_ms,
            ends: When::after(settings.absolute),
            most: settings.most,
            data,
            is_chosen: false,
        })
    }

    /// As this handle was told, or else as the session before has it.
    fn whence(&self, before: Option<&Row>) -> (Option<Box<str>>, Option<IpAddr>) {
        let state = self.state.lock();
        let device = state.device.clone().or_else(|| before?.device.clone());
        (device, state.address.or_else(|| before?.address))
    }

    /// What was changed here, and what came to it in the end, is saved.
    fn logged_in(&self, changes: &Changes, handed: &Handed) {
        let mut state = self.state.lock();
        state.settle(changes, None);
        if let Standing::Live { row, now_ms, .. } = &mut state.standing {
            row.apply(&handed.changes, *now_ms);
            row.version = handed.version.unwrap_or(row.version);
        }
    }

    /// Ends the one before, and saves what it had in the end; nothing if it had ended.
    async fn hand_over(
        &self,
        old: &SessionToken,
        read: &Row,
        new: &SessionToken,
        changes: &Changes,
    ) -> Result<Option<Handed>> {
        let (engine, how) = (&self.shared.engine, self.shared.settings.ending());
        let last = engine.backend.take_down(&self.keys(old), whose(read), how).await?;
        let Some(last) = last else { return Ok(None) };
        engine.count_ended(Cause::Login, 1);
        if read.user.is_some() || last.version == read.version {
            return Ok(Some(Handed::default()));
        }
        // Another request has changed it since it was read: that goes along too.
        let mut since = last.changes_since(read);
        since.retain(|name, _| !changes.contains_key(name));
        let saving = Saving {
            idle_ms: self.shared.settings.idle_ms,
            expected: None,
            ends: None,
            changes: &since,
            len_max: engine.value_len_max,
            appends_to: None,
        };
        match engine.backend.save(&self.keys(new), Whose::Users, &saving).await? {
            Outcome::Saved { version, .. } => {
                Ok(Some(Handed { changes: since, version: Some(version) }))
            }
            Outcome::Gone | Outcome::Conflict | Outcome::Appended(_) => Ok(None),
            Outcome::TooMuch => Err(too_much(engine.value_len_max)),
        }
    }

    /// Ends what a login has begun that came to nothing. No one has its token, so if this fails, it goes unused
    /// until it ends.
    async fn take_back(&self, token: &SessionToken) {
        let (engine, how) = (&self.shared.engine, self.shared.settings.ending());
        if let Err(error) = engine.backend.end(&self.keys(token), Whose::Users, how).await {
            tracing::debug!(%error, "a session whose login failed is left to its time");
        }
    }

    /// Whoever logs in again has another id, and all of the time.
    async fn begin_anew(&self) -> Result<Login> {
        if let Saved::Gone = self.save_in_turn(false).await? {
            return Ok(Login::Gone);
        }
        let lasts = When::after(self.shared.settings.absolute);
        match self.rotate_in_turn(Some(lasts)).await? {
            true => Ok(Login::Done),
            false => Ok(Login::Gone),
        }
    }

    pub(super) async fn rotate(&self) -> Result<bool> {
        let _turn = self.turn.lock().await;
        self.read_in_turn().await?;
        self.rotate_in_turn(None).await
    }

    async fn rotate_in_turn(&self, lasts: Option<When>) -> Result<bool> {
        let found = match &self.state.lock().standing {
            Standing::Live { token, row, .. } => Some((token.clone(), whose(row))),
            _ => None,
        };
        let Some((old, whose)) = found else { return Ok(false) };
        let (engine, settings) = (&self.shared.engine, &self.shared.settings);
        let new = SessionToken::random(old.slot())?;
        let (device, address) = match lasts {
            Some(_) => self.whence(None),
            None => (None, None),
        };
        let rotation = Rotation { idle_ms: settings.idle_ms, lasts, device, address };
        let (from, to, how) = (self.keys(&old), self.keys(&new), settings.ending());
        let rotated = engine.backend.rotate(&from, &to, whose, &rotation, how).await?;
        let mut state = self.state.lock();
        let Some(rotated) = rotated else {
            state.end(Standing::Ended);
            return Ok(false);
        };
        if let Standing::Live { token, row, .. } = &mut state.standing {
            *token = new;
            (row.made_ms, row.ends_ms) = (rotated.made_ms, rotated.ends_ms);
            row.see(settings.idle_ms, rotated.seen_ms);
            row.stored = None;
            row.device = rotation.device.or(row.device.take());
            row.address = rotation.address.or(row.address);
        }
        engine.count_ended(Cause::Rotated, 1);
        Ok(true)
    }
}
