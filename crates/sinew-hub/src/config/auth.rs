//! `[[tokens]]`, `[[users]]` and `[dashboard]`: who may do what.
//!
//! No message has a word of a token, a hash or a password: a secret may have been put in a wrong place.

use jiff::Timestamp;
use sinew::{Tenancy, Tenant};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::caches::word;
use super::layers::File;
use super::read::is_said;
use super::{Fault, Origin, sessions};
use crate::auth::Digest;
use crate::auth::password::Hashed;
use crate::auth::scope::{self, Granted, Role};
use crate::auth::settings::{AuthSettings, NAME_EXPECTED, TokenSetting, UserSetting, is_name};

pub(super) const TOKENS: &str = "tokens: expected a table for each token, as `sinew token new` prints it: [[tokens]] with name, sha256 and scopes";
pub(super) const USERS: &str = "users: expected a table for each user, like [[users]] name = \"ada\", role = \"viewer\", and password as `sinew user hash` prints it";
pub(super) const DASHBOARD: &str =
    "dashboard: expected a table, like [dashboard] idle = \"30m\", absolute = \"12h\"";
const TENANT: &str = "tenant: this deployment is single-tenant: expected none";

/// Of each kind.
const NAMED_MAX: usize = 1_000;

/// What was said so far.
#[derive(Default)]
pub(super) struct AuthTables {
    settings: AuthSettings,
    /// Of the tokens and of the users, in this order each.
    token_lines: Vec<Origin>,
    user_lines: Vec<Origin>,
    tenant_lines: Vec<Origin>,
}

impl AuthTables {
    pub(super) fn read_tokens(&mut self, file: &File, said: &DeArray<'_>, faults: &mut Vec<Fault>) {
        for token in said {
            let origin = file.at(token.span().start);
            match token.get_ref() {
                DeValue::Table(said) => self.read_token(file, origin, said, faults),
                _ => faults.push(Fault { origin, message: TOKENS.to_owned() }),
            }
        }
    }

    fn read_token(
        &mut self,
        file: &File,
        token_at: Origin,
        said: &DeTable<'_>,
        faults: &mut Vec<Fault>,
    ) {
        let (mut name, mut digest, mut scopes) = (None, None, None);
        let (mut tenant, mut expires_at) = (None, None);
        let (before, whose) = (faults.len(), whose("token", said, is_hash));
        for (key, value) in said {
            let at = file.at(key.span().start);
            let read = match key.get_ref().as_ref() {
                "name" => named(value).map(|it| name = Some(it)),
                "sha256" => sha256(value).map(|it| digest = Some(it)),
                "scopes" => {
                    scopes = granted(file, value, &whose, faults);
                    Ok(())
                }
                "tenant" => {
                    self.tenant_lines.push(at.clone());
                    of_tenant(value).map(|it| tenant = Some(it))
                }
                "expires_at" => instant(value).map(|it| expires_at = Some(it)),
                unknown => Err(format!(
                    "unknown key {unknown:?} of a token: expected name, sha256, scopes, tenant or expires_at"
                )),
            };
            if let Err(message) = read {
                faults.push(Fault { origin: at, message: format!("{whose}{message}") });
            }
        }
        for (key, like) in [
            ("name", "name = \"billing\""),
            ("sha256", "what `sinew token new` prints"),
            ("scopes", "scopes = [\"cache:read\"]"),
        ] {
            if !is_said(key, said) {
                let message = format!("a token has no {key}: expected {like}");
                faults.push(Fault { origin: token_at.clone(), message });
            }
        }
        let (Some(name), Some(digest), Some(scopes)) = (name, digest, scopes) else { return };
        if faults.len() == before {
            self.settings.tokens.push(TokenSetting { name, digest, tenant, scopes, expires_at });
            self.token_lines.push(token_at);
        }
    }

    pub(super) fn read_users(&mut self, file: &File, said: &DeArray<'_>, faults: &mut Vec<Fault>) {
        for user in said {
            let origin = file.at(user.span().start);
            match user.get_ref() {
                DeValue::Table(said) => self.read_user(file, origin, said, faults),
                _ => faults.push(Fault { origin, message: USERS.to_owned() }),
            }
        }
    }

    fn read_user(
        &mut self,
        file: &File,
        user_at: Origin,
        said: &DeTable<'_>,
        faults: &mut Vec<Fault>,
    ) {
        let (mut name, mut password, mut role, mut tenant) = (None, None, None, None);
        let (before, whose) = (faults.len(), whose("user", said, is_password));
        for (key, value) in said {
            let at = file.at(key.span().start);
            let read = match key.get_ref().as_ref() {
                "name" => named(value).map(|it| name = Some(it)),
                "password" => password_hash(value).map(|it| password = Some(it)),
                "role" => word(value).unwrap_or_default().parse::<Role>().map(|it| role = Some(it)),
                "tenant" => {
                    self.tenant_lines.push(at.clone());
                    of_tenant(value).map(|it| tenant = Some(it))
                }
                unknown => Err(format!(
                    "unknown key {unknown:?} of a user: expected name, password, role or tenant"
                )),
            };
            if let Err(message) = read {
                faults.push(Fault { origin: at, message: format!("{whose}{message}") });
            }
        }
        for (key, like) in [
            ("name", "name = \"ada\""),
            ("password", "what `sinew user hash` prints"),
            ("role", "role = \"viewer\", \"operator\" or \"admin\""),
        ] {
            if !is_said(key, said) {
                let message = format!("a user has no {key}: expected {like}");
                faults.push(Fault { origin: user_at.clone(), message });
            }
        }
        let (Some(name), Some(password), Some(role)) = (name, password, role) else { return };
        if faults.len() == before {
            self.settings.users.push(UserSetting { name, password, role, tenant });
            self.user_lines.push(user_at);
        }
    }

    pub(super) fn read_dashboard(
        &mut self,
        file: &File,
        said: &DeTable<'_>,
        faults: &mut Vec<Fault>,
    ) {
        let (mut idle, mut absolute) = (None, None);
        for (key, value) in said {
            let read = match key.get_ref().as_ref() {
                "idle" => sessions::time("idle", value).map(|it| idle = Some(it)),
                "absolute" => sessions::time("absolute", value).map(|it| absolute = Some(it)),
                unknown => {
                    Err(format!("unknown key {unknown:?} of dashboard: expected idle or absolute"))
                }
            };
            if let Err(message) = read {
                faults.push(Fault { origin: file.at(key.span().start), message });
            }
        }
        let lasting = sessions::lasting(file, said, idle, absolute, faults);
        (self.settings.idle, self.settings.absolute) = (lasting.idle, lasting.absolute);
    }

    /// What is likely a slip, and may not be.
    pub(super) fn doubts(&self) -> Vec<Fault> {
        let now = Timestamp::now();
        let tokens = self.settings.tokens.iter().zip(&self.token_lines);
        let expired = tokens.filter(|(token, _)| token.has_expired(now));
        let doubts = expired.map(|(token, at)| Fault {
            origin: at.clone(),
            message: format!("token {:?} has expired: expected it to be removed", token.name),
        });
        doubts.collect()
    }

    /// Whether they hold together.
    pub(super) fn settle(self, tenancy: Tenancy, faults: &mut Vec<Fault>) -> AuthSettings {
        let Self { settings, token_lines, user_lines, tenant_lines } = self;
        let mut fault = |at: &Origin, message: String| {
            faults.push(Fault { origin: at.clone(), message });
        };
        if tenancy == Tenancy::Single {
            for at in &tenant_lines {
                fault(at, TENANT.to_owned());
            }
        }
        for lines in [&token_lines, &user_lines] {
            if let Some(at) = lines.get(NAMED_MAX) {
                fault(at, format!("one too many: expected at most {NAMED_MAX}"));
            }
        }
        // In audits, a name is of one token or one user.
        let tokens = settings.tokens.iter().map(|token| token.name.as_str()).zip(&token_lines);
        let users = settings.users.iter().map(|user| user.name.as_str()).zip(&user_lines);
        let names: Vec<(&str, &Origin)> = tokens.chain(users).collect();
        for (index, (name, at)) in names.iter().enumerate() {
            if names[..index].iter().any(|(before, _)| before == name) {
                fault(at, format!("another one is called {name:?}: expected a name of its own"));
            }
        }
        for (index, token) in settings.tokens.iter().enumerate() {
            if settings.tokens[..index].iter().any(|before| before.digest == token.digest) {
                let message = "another token has this sha256: expected one of its own";
                fault(&token_lines[index], message.to_owned());
            }
        }
        settings
    }
}

/// Of which token or user a fault is, where that one has a name and its secret is in its place: else that may be
/// what stands in the place of the name.
fn whose(
    kind: &str,
    said: &DeTable<'_>,
    is_secret: impl Fn(&str, &Spanned<DeValue<'_>>) -> bool,
) -> String {
    let is_in_place = said.iter().any(|(key, value)| is_secret(key.get_ref(), value));
    let name = said.iter().find(|(key, _)| is_in_place && key.get_ref() == "name");
    let name = name.and_then(|(_, value)| named(value).ok());
    name.map_or_else(String::new, |name| format!("{kind} {name:?}: "))
}

fn is_hash(key: &str, value: &Spanned<DeValue<'_>>) -> bool {
    key == "sha256" && sha256(value).is_ok()
}

fn is_password(key: &str, value: &Spanned<DeValue<'_>>) -> bool {
    key == "password" && password_hash(value).is_ok()
}

fn named(value: &Spanned<DeValue<'_>>) -> Result<String, String> {
    let name = word(value).filter(|name| is_name(name)).map(str::to_owned);
    name.ok_or_else(|| format!("invalid name: {NAME_EXPECTED}"))
}

fn sha256(value: &Spanned<DeValue<'_>>) -> Result<Digest, String> {
    word(value).and_then(Digest::parse).ok_or_else(|| {
        "invalid sha256: expected 64 hexadecimal digits, as `sinew token hash` prints them"
            .to_owned()
    })
}

/// What is no text is no hash either.
fn password_hash(value: &Spanned<DeValue<'_>>) -> Result<Hashed, String> {
    Hashed::read(word(value).unwrap_or_default())
}

/// Those that are scopes; the others are told by their place, for one may be a secret.
fn granted(
    file: &File,
    value: &Spanned<DeValue<'_>>,
    whose: &str,
    faults: &mut Vec<Fault>,
) -> Option<Vec<Granted>> {
    let mut fault = |value: &Spanned<DeValue<'_>>, what: &str| {
        let message = format!("{whose}invalid {what}{}", scope::EXPECTED);
        faults.push(Fault { origin: file.at(value.span().start), message });
    };
    let said = match value.get_ref() {
        DeValue::Array(said) if !said.is_empty() => said,
        _ => {
            fault(value, "scopes: expected at least one in brackets; ");
            return None;
        }
    };
    let mut scopes = Vec::with_capacity(said.len());
    for (index, value) in said.iter().enumerate() {
        match word(value).and_then(|scope| scope.parse::<Granted>().ok()) {
            Some(scope) => scopes.push(scope),
            None => fault(value, &format!("scopes[{index}]: ")),
        }
    }
    Some(scopes)
}

fn of_tenant(value: &Spanned<DeValue<'_>>) -> Result<Tenant, String> {
    let name = word(value).ok_or("invalid tenant: expected its name in quotes")?;
    // Its own message quotes the name.
    Tenant::new(name).map_err(|_| {
        "invalid tenant: expected 1 to 64 of A-Z a-z 0-9 . - and not only dots".to_owned()
    })
}

fn instant(value: &Spanned<DeValue<'_>>) -> Result<Timestamp, String> {
    let text = match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Datetime(at) => at.to_string(),
        _ => String::new(),
    };
    text.parse().map_err(|_| {
        "invalid expires_at: expected a time with its offset, like 2027-01-01T00:00:00Z".to_owned()
    })
}
