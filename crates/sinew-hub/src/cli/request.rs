//! Asking a hub.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use sinew::http::TENANT_HEADER;

use super::Outcome;

const REQUEST_MAX: Duration = Duration::from_secs(10);

/// A request to a hub.
pub(crate) struct Request {
    pub(crate) url: reqwest::Url,
    pub(crate) tenant: Option<String>,
}

impl Request {
    /// A request for a path, whose parts are taken as they are.
    pub(crate) fn to(hub: SocketAddr, path: &[&str]) -> Result<Self, Outcome> {
        let bad = |_| Outcome::Failed(format!("no URL for the hub at {hub}"));
        let mut url =
            reqwest::Url::parse(&format!("http://{hub}")).map_err(|e| bad(e.to_string()))?;
        // Takes each part as it is, percent-encoded where need be.
        url.path_segments_mut().map_err(|()| bad(String::new()))?.extend(path);
        Ok(Self { url, tenant: None })
    }

    /// The status and body of a reply that says it worked.
    pub(crate) async fn send(
        &self,
        method: Method,
        body: Option<String>,
    ) -> Result<(StatusCode, String), Outcome> {
        let client = reqwest::Client::builder().timeout(REQUEST_MAX).no_proxy().build();
        let mut request =
            client.map_err(|e| Outcome::Failed(e.to_string()))?.request(method, self.url.clone());
        if let Some(tenant) = &self.tenant {
            request = request.header(TENANT_HEADER, tenant);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let hub = self.url.origin().ascii_serialization();
        let unreachable = |_| {
            Outcome::Failed(format!(
                "no hub answers at {hub}: start one with `sinew serve`, name another with --listen, or work on Redis with --store redis://…"
            ))
        };
        let reply = request.send().await.map_err(unreachable)?;
        let status = reply.status();
        let text = reply.text().await.map_err(unreachable)?;
        if status.is_success() {
            return Ok((status, text));
        }
        let problem = serde_json::from_str::<Value>(&text).ok();
        let detail = problem.and_then(|problem| Some(problem["detail"].as_str()?.to_owned()));
        let Some(detail) = detail else {
            return Err(Outcome::Failed(format!(
                "{hub} answered {status}, and not as a hub does: expected the address of one with --listen"
            )));
        };
        Err(match status {
            StatusCode::NOT_FOUND if self.url.path().contains("/entries/") => Outcome::NoSuchEntry,
            _ if status.is_client_error() => Outcome::BadInput(detail),
            _ => Outcome::Failed(detail),
        })
    }

    /// Why there was no entry: there is none, or the hub cannot know.
    pub(crate) async fn no_entry(&self) -> Outcome {
        let mut url = self.url.clone();
        url.set_path("/health/ready");
        let health = Self { url, tenant: None }.send(Method::GET, None).await;
        let health = health.ok().and_then(|(_, text)| serde_json::from_str::<Value>(&text).ok());
        match health.as_ref().and_then(|health| health["reason"].as_str()) {
            Some(reason) => Outcome::Failed(format!("the hub cannot look it up now: {reason}")),
            None => Outcome::NoSuchEntry,
        }
    }
}
