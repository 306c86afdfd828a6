//! Asking a hub.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sinew::http::TENANT_HEADER;

use super::{Outcome, configured};
use crate::config::Flags;

const REQUEST_MAX: Duration = Duration::from_secs(10);
const TOKEN_VARIABLE: &str = "SINEW_TOKEN";
/// What a part of a path may not have as it is (RFC 3986, 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// By what a hub knows who asks.
#[derive(Args, Clone, Default)]
pub struct Bearer {
    /// What the hub knows you by, if it asks for that [default: SINEW_TOKEN, which others on this machine cannot
    /// read]
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
}

impl Bearer {
    /// Whether it was said on the command line.
    pub(crate) fn is_said(&self) -> bool {
        self.token.is_some()
    }

    /// # Errors
    /// `BadInput` for what no token is.
    fn token(&self) -> Result<Option<String>, Outcome> {
        let said = self.token.clone().or_else(|| std::env::var(TOKEN_VARIABLE).ok());
        let token = said.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        match token {
            Some(token) if !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Err(Outcome::BadInput(format!(
                    "--token, or {TOKEN_VARIABLE}: expected a token as `sinew token new` prints it"
                )))
            }
            token => Ok(token),
        }
    }
}

/// Which hub to ask, and how to print.
#[derive(Args)]
pub struct At {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Read settings from this file
    #[arg(long, value_name = "FILE", env = "SINEW_CONFIG")]
    config: Option<PathBuf>,
    /// Where the hub listens [default: 127.0.0.1:7463]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    #[command(flatten)]
    bearer: Bearer,
}

impl At {
    /// A request for a path, whose parts are taken as they are.
    pub(crate) fn request(&self, path: &[&str]) -> Result<Request, Outcome> {
        let (config, listen) = (self.config.clone(), self.listen.clone());
        let config = configured(&Flags { config, listen, ..Flags::default() })?;
        Request::to(config.listen, path)?.by(&self.bearer)
    }
}

/// A request to a hub.
pub(crate) struct Request {
    pub(crate) url: reqwest::Url,
    pub(crate) tenant: Option<String>,
    /// The one that a change is to replace: 0 where there is to be none.
    pub(crate) revision: Option<u64>,
    /// By what the hub knows who asks.
    pub(crate) token: Option<String>,
    /// With which the same is done once, however often it is asked for.
    pub(crate) idempotency_key: Option<String>,
    /// How long a reply may take.
    pub(crate) patience: Duration,
    /// Of a body.
    pub(crate) content_type: &'static str,
}

impl Request {
    /// A request for a path, whose parts are taken as they are.
    pub(crate) fn to(hub: SocketAddr, path: &[&str]) -> Result<Self, Outcome> {
        if let Some(part) = path.iter().find(|part| ["", ".", ".."].contains(*part)) {
            return Err(Outcome::BadInput(format!(
                "invalid name {part:?}: expected one that a URL can hold"
            )));
        }
        // Not by `Url` itself: that leaves out tabs and ends of lines, and would name something else.
        let mut url = format!("http://{hub}");
        for part in path {
            url.push('/');
            url.extend(utf8_percent_encode(part, ENCODED));
        }
        let url = reqwest::Url::parse(&url);
        url.map(Self::of).map_err(|_| Outcome::Failed(format!("no URL for the hub at {hub}")))
    }

    fn of(url: reqwest::Url) -> Self {
        let (patience, content_type) = (REQUEST_MAX, "application/json");
        Self {
            url,
            tenant: None,
            revision: None,
            token: None,
            idempotency_key: None,
            patience,
            content_type,
        }
    }

    /// The same, by someone whom the hub knows.
    pub(crate) fn by(self, bearer: &Bearer) -> Result<Self, Outcome> {
        Ok(Self { token: bearer.token()?, ..self })
    }

    /// The status and body of a reply that says it worked.
    pub(crate) async fn send(
        &self,
        method: Method,
        body: Option<String>,
    ) -> Result<(StatusCode, String), Outcome> {
        let (status, text) = self.reply(method, body).await?;
        match status.is_success() {
            true => Ok((status, text)),
            false => Err(self.refused(status, &text)),
        }
    }

    /// The status and body of a reply, whatever it says.
    pub(crate) async fn reply(
        &self,
        method: Method,
        body: Option<String>,
    ) -> Result<(StatusCode, String), Outcome> {
        let client = reqwest::Client::builder().timeout(self.patience).no_proxy().build();
        let mut request =
            client.map_err(|e| Outcome::Failed(e.to_string()))?.request(method, self.url.clone());
        if let Some(tenant) = &self.tenant {
            request = request.header(TENANT_HEADER, tenant);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(revision) = self.revision {
            request = request.header("if-match", format!("\"{revision}\""));
        }
        if let Some(key) = &self.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = body {
            request = request.header("content-type", self.content_type).body(body);
        }
        let hub = self.hub();
        let unreachable = |error: reqwest::Error| match error.is_timeout() {
            true => Outcome::Failed(format!(
                "{hub} did not answer within {} s; what was asked may still be done",
                self.patience.as_secs()
            )),
            false => Outcome::Failed(format!(
                "no hub answers at {hub}: start one with `sinew serve`, name another with --listen, or work on Redis with --store redis://…"
            )),
        };
        let reply = request.send().await.map_err(unreachable)?;
        let status = reply.status();
        Ok((status, reply.text().await.map_err(unreachable)?))
    }

    /// A reply that goes on for as long as both sides want.
    pub(crate) async fn open(&self) -> Result<reqwest::Response, Outcome> {
        let client = reqwest::Client::builder().connect_timeout(self.patience).no_proxy().build();
        let mut request = client.map_err(|e| Outcome::Failed(e.to_string()))?.get(self.url.clone());
        if let Some(tenant) = &self.tenant {
            request = request.header(TENANT_HEADER, tenant);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        request.send().await.map_err(|_| {
            Outcome::Failed(format!(
                "no hub answers at {}: start one with `sinew serve`, name another with --listen, or work on Redis with --store redis://…",
                self.hub()
            ))
        })
    }

    fn hub(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// What a reply means that does not say it worked.
    pub(crate) fn refused(&self, status: StatusCode, text: &str) -> Outcome {
        let problem = serde_json::from_str::<Value>(text).ok();
        let detail = problem.and_then(|problem| Some(problem["detail"].as_str()?.to_owned()));
        let Some(detail) = detail else {
            return Outcome::Failed(format!(
                "{} answered {status}, and not as a hub does: expected the address of one with --listen",
                self.hub()
            ));
        };
        match status {
            StatusCode::NOT_FOUND if self.is_of_a_limit() => {
                // What to do about one that is not defined is said in the words of HTTP.
                Outcome::NoSuchLimit(match detail.split_once(": PUT ") {
                    Some((missing, _)) => format!(
                        "{missing}: expected one, as by `sinew limit define NAME --quota 100 --per 1m`; `sinew limit list` shows those that are"
                    ),
                    None => detail,
                })
            }
            StatusCode::NOT_FOUND if self.is_of_a_flag() => {
                Outcome::NoSuchFlag(match detail.split_once(": PUT ") {
                    Some((missing, _)) => format!("{missing}: {}", crate::flag::command::EXPECTED),
                    None => detail,
                })
            }
            StatusCode::NOT_FOUND if self.is_of_an_entry() => Outcome::NoSuchEntry,
            StatusCode::CONFLICT => Outcome::Failed(detail),
            StatusCode::UNAUTHORIZED => Outcome::BadInput(format!(
                "{} asks who you are: expected --token, or {TOKEN_VARIABLE}, with a token that it knows and that has not expired",
                self.hub()
            )),
            _ if status.is_client_error() => Outcome::BadInput(detail),
            _ => Outcome::Failed(detail),
        }
    }

    /// What a GET replies.
    pub(crate) async fn get<T: DeserializeOwned>(&self) -> Result<T, Outcome> {
        read_reply(&self.send(Method::GET, None).await?.1)
    }

    fn is_of_a_limit(&self) -> bool {
        // /v1/limits/…
        self.url.path_segments().and_then(|mut parts| parts.nth(1)) == Some("limits")
    }

    fn is_of_a_flag(&self) -> bool {
        // /v1/flags/…
        self.url.path_segments().and_then(|mut parts| parts.nth(1)) == Some("flags")
    }

    fn is_of_an_entry(&self) -> bool {
        // /v1/cache/NAME/entries/KEY
        let part = self.url.path_segments().and_then(|mut parts| parts.nth(3));
        part.is_some_and(|part| ["entries", "info"].contains(&part))
    }

    /// Why there was no entry: there is none, or the hub cannot know.
    pub(crate) async fn no_entry(&self) -> Outcome {
        let mut url = self.url.clone();
        url.set_path("/health/ready");
        let health = Self::of(url).send(Method::GET, None).await;
        let health = health.ok().and_then(|(_, text)| serde_json::from_str::<Value>(&text).ok());
        match health.as_ref().and_then(|health| health["reason"].as_str()) {
            Some(reason) => Outcome::Failed(format!("the hub cannot look it up now: {reason}")),
            None => Outcome::NoSuchEntry,
        }
    }
}

/// What a hub replied.
pub(crate) fn read_reply<T: DeserializeOwned>(text: &str) -> Result<T, Outcome> {
    serde_json::from_str(text).map_err(|_| {
        Outcome::Failed(
            "the hub's reply is not what is expected: is it of another version?".to_owned(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_path_is_taken_as_it_is() {
        let hub = SocketAddr::from(([127, 0, 0, 1], 7463));
        let request = Request::to(hub, &["v1", "slow-log", "a\t/b\n", "é:%3A?#"]).ok().unwrap();
        let expected = "http://127.0.0.1:7463/v1/slow-log/a%09%2Fb%0A/%C3%A9%3A%253A%3F%23";
        assert_eq!(request.url.as_str(), expected);
        for bad in ["", ".", ".."] {
            assert!(Request::to(hub, &["v1", "cache", bad, "stats"]).is_err(), "{bad:?}");
        }
    }
}
