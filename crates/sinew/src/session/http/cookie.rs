//! The cookie that carries a session's token.

use std::sync::Arc;
use std::time::Duration;

use ::http::header::COOKIE;
use ::http::{HeaderMap, HeaderValue};

use crate::kernel::error::{Error, Result};
use crate::session::SessionToken;

/// The longest name, in bytes.
const NAME_LEN_MAX: usize = 64;

/// How a session's token travels in a cookie: [`SessionCookie::host`] with the name `id` unless said.
///
/// It has no `Domain`, so no other host gets it; `HttpOnly`, so no script reads it; and no `Max-Age` unless
/// it is [`persistent`](SessionCookie::persistent), so it ends with the browser. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionCookie {
    /// As it is sent.
    name: Arc<str>,
    is_plain: bool,
    same_site: SameSite,
    is_persistent: bool,
}

/// Which requests that another site has caused carry the cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SameSite {
    /// Links that are followed do, as from a mail; forms, frames and scripts do not.
    #[default]
    Lax,
    /// None do: whoever follows a link from elsewhere is not signed in until the next click.
    Strict,
}

impl SessionCookie {
    /// `__Host-NAME=…; Path=/; Secure; HttpOnly; SameSite=Lax`: a browser takes it only over TLS and from this
    /// very host, and lets no neighbour under the same domain set it.
    ///
    /// The name, without the prefix, is 1 to 64 of what a cookie's may have (letters, digits,
    /// ``!#$%&'*+-.^_`|~``); [`SessionsBuilder::build`](crate::session::SessionsBuilder::build) rejects another.
    #[must_use]
    pub fn host(name: &str) -> Self {
        Self::named(format!("__Host-{name}"), false)
    }

    /// `NAME=…; Path=/; HttpOnly; SameSite=Lax`: for development without TLS. Anyone on the way reads it,
    /// and a neighbour under the same domain can set it.
    #[must_use]
    pub fn plain_http(name: &str) -> Self {
        Self::named(name.to_owned(), true)
    }

    fn named(name: String, is_plain: bool) -> Self {
        Self { name: name.into(), is_plain, same_site: SameSite::default(), is_persistent: false }
    }

    /// Which requests that another site has caused carry it: [`SameSite::Lax`] unless said.
    #[must_use]
    pub fn same_site(mut self, same_site: SameSite) -> Self {
        self.same_site = same_site;
        self
    }

    /// Lets it outlive the browser: it has a `Max-Age`, of what is left of the session however much it is
    /// used.
    #[must_use]
    pub fn persistent(mut self) -> Self {
        self.is_persistent = true;
        self
    }

    /// # Errors
    /// `Rejected` for a name that a cookie cannot have.
    pub(crate) fn validate(&self) -> Result<()> {
        let own = match self.is_plain {
            true => &*self.name,
            false => self.name.strip_prefix("__Host-").unwrap_or_default(),
        };
        // A browser drops a cookie whose prefix promises what its attributes do not keep.
        let is_one = (1..=NAME_LEN_MAX).contains(&own.len())
            && own.bytes().all(is_token_byte)
            && !own.starts_with("__");
        match is_one {
            true => Ok(()),
            false => Err(Error::rejected(format!(
                "invalid cookie name: expected 1 to {NAME_LEN_MAX} of A-Z a-z 0-9 !#$%&'*+-.^_`|~, not beginning with __"
            ))),
        }
    }

    pub(super) fn is_persistent(&self) -> bool {
        self.is_persistent
    }

    /// The token that a request carries. `None` where it has no such cookie, one that is no token, or several.
    pub(super) fn read(&self, headers: &HeaderMap) -> Option<SessionToken> {
        // Bytes, since another cookie in the same line may be no text.
        let lines = headers.get_all(COOKIE).iter();
        let cookies = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
        let mut values = cookies.filter_map(|cookie| {
            let named = cookie.trim_ascii().strip_prefix(self.name.as_bytes())?;
            named.strip_prefix(b"=")
        });
        let value = values.next()?;
        match values.next() {
            Some(_) => None,
            None => std::str::from_utf8(value).ok()?.parse().ok(),
        }
    }

    /// What sets it, for as long as the session can live if that is known.
    pub(super) fn set(&self, token: &SessionToken, lives: Option<Duration>) -> Option<HeaderValue> {
        self.field(token.as_str(), lives.map(|lives| lives.as_secs()))
    }

    /// What removes it: the same attributes, or a browser would not take it for the same.
    pub(super) fn remove(&self) -> Option<HeaderValue> {
        self.field("", Some(0))
    }

    fn field(&self, value: &str, max_age_s: Option<u64>) -> Option<HeaderValue> {
        let name = &self.name;
        let secure = if self.is_plain { "" } else { " Secure;" };
        let same_site = match self.same_site {
            SameSite::Lax => "Lax",
            SameSite::Strict => "Strict",
        };
        let mut text = format!("{name}={value}; Path=/;{secure} HttpOnly; SameSite={same_site}");
        if let Some(seconds) = max_age_s {
            text.push_str(&format!("; Max-Age={seconds}"));
        }
        let mut field = HeaderValue::try_from(text).ok()?;
        // What prints header fields is to leave it out.
        field.set_sensitive(true);
        Some(field)
    }
}

/// What the name of a cookie is made of (RFC 6265, 4.1.1).
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "AAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn read(cookie: &SessionCookie, lines: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        cookie.read(&headers).map(|token| token.as_str().to_owned())
    }

    #[test]
    fn a_token_is_read_from_the_one_cookie_of_the_name() {
        let cookie = SessionCookie::host("id");
        let (own, planted) = (format!("__Host-id={TOKEN}"), format!("__Host-id=x{TOKEN}"));
        let (alike, longer) = (format!("id={TOKEN}"), format!("__Host-id2={TOKEN}"));
        for (lines, is_read) in [
            (vec![own.clone()], true),
            (vec![format!("a=b; {own}; c=d")], true),
            (vec![format!("a=b;{own};")], true),
            (vec!["a=b".to_owned(), own.clone()], true),
            (vec![format!("a=é; {own}")], true),
            (vec![format!("{alike}; {longer}; {own}")], true),
            (vec![], false),
            (vec![alike], false),
            (vec![longer], false),
            (vec![format!("__host-id={TOKEN}")], false),
            (vec![format!("__Host-id=\"{TOKEN}\"")], false),
            (vec!["__Host-id=".to_owned()], false),
            (vec!["__Host-id".to_owned()], false),
            (vec![planted.clone()], false),
            (vec![format!("{own}; {own}")], false),
            (vec![format!("{own}; {planted}")], false),
            (vec![own, planted], false),
        ] {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            assert_eq!(read(&cookie, &lines).as_deref(), is_read.then_some(TOKEN), "{lines:?}");
        }
    }

    #[test]
    fn a_cookie_is_set_and_removed_with_the_same_attributes() {
        let token: SessionToken = TOKEN.parse().unwrap();
        let day = Duration::from_secs(86_400);
        let host = SessionCookie::host("id");
        for (cookie, lives, before, after) in [
            (host.clone(), None, "__Host-id=", "; Path=/; Secure; HttpOnly; SameSite=Lax"),
            (
                host.same_site(SameSite::Strict).persistent(),
                Some(day),
                "__Host-id=",
                "; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=86400",
            ),
            (SessionCookie::plain_http("id"), None, "id=", "; Path=/; HttpOnly; SameSite=Lax"),
        ] {
            let set = cookie.set(&token, lives).unwrap();
            assert!(set.is_sensitive());
            assert_eq!(set.to_str().unwrap(), format!("{before}{TOKEN}{after}"));
            let attributes = after.trim_end_matches("; Max-Age=86400");
            let removal = cookie.remove().unwrap();
            assert_eq!(removal.to_str().unwrap(), format!("{before}{attributes}; Max-Age=0"));
        }
    }

    #[test]
    fn a_name_that_a_cookie_cannot_have_is_rejected() {
        for good in ["id", "sid.v2", "a", "x_y"] {
            SessionCookie::host(good).validate().unwrap();
            SessionCookie::plain_http(good).validate().unwrap();
        }
        let long = "x".repeat(NAME_LEN_MAX + 1);
        for bad in [
            "",
            "a b",
            "a=b",
            "a;b",
            "a,b",
            "ä",
            "a\r\nb",
            "__Host-id",
            "__Secure-id",
            long.as_str(),
        ] {
            assert!(SessionCookie::host(bad).validate().is_err(), "{bad:?}");
            assert!(SessionCookie::plain_http(bad).validate().is_err(), "{bad:?}");
        }
    }
}
