//! Someone who looks at the data: mostly reads of a few favourites, now and then a write.

use std::collections::HashMap;
use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde::Deserialize;
use serde_json::json;
use sinew::http::TENANT_HEADER;

use super::{PASSWORD, TENANTS, USERS, email_of};

const REQUEST_MAX: Duration = Duration::from_secs(5);
/// One request in so many is a write.
const WRITE_EVERY: u32 = 20;
/// One visit in so many places an order: a number by which all tenants and users come by.
const ORDER_EVERY: u32 = 67;
/// Who has so many projects makes no more.
const PROJECTS_MAX: usize = 10;

/// Live traffic over HTTP against a running platform.
pub struct Traffic {
    client: Client,
    /// e.g. `http://127.0.0.1:7464`
    base: String,
    pause: Duration,
}

/// Why traffic cannot start.
#[derive(Debug, thiserror::Error)]
#[error("cannot make an HTTP client: {0}")]
pub struct TrafficError(#[from] reqwest::Error);

/// The token of each user, by tenant and name.
type Tokens = HashMap<(&'static str, &'static str), String>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Issued {
    access_token: String,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Property {
    id: i64,
    address: String,
    monthly_rent_cents: i64,
    row_version: i64,
}

impl Traffic {
    /// Traffic of so many requests a second, at least one.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(base: String, requests_per_second: u32) -> Result<Self, TrafficError> {
        Ok(Self {
            client: Client::builder().timeout(REQUEST_MAX).no_proxy().build()?,
            base,
            pause: Duration::from_secs(1) / requests_per_second.max(1),
        })
    }

    /// Runs until it is dropped. A request that fails is logged, and the next one follows.
    pub async fn run(self) {
        let mut tokens = Tokens::new();
        let mut ticks = tokio::time::interval(self.pause);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        for n in 0u32.. {
            ticks.tick().await;
            if let Err(error) = self.visit(&mut tokens, n).await {
                tracing::debug!(%error, "a request of the demonstration failed");
            }
        }
    }

    async fn visit(&self, tokens: &mut Tokens, n: u32) -> Result<(), reqwest::Error> {
        let tenant = TENANTS[n as usize % TENANTS.len()];
        let list: Vec<Property> = self.get(tenant, "/api/properties").await?;
        let Some(favourite) = list.get(favourite_of(list.len())) else {
            return Ok(());
        };
        let path = format!("/api/properties/{}", favourite.id);
        if n % WRITE_EVERY == WRITE_EVERY - 1 {
            return self.raise_rent(tenant, &path).await;
        }
        let _: serde_json::Value = self.get(tenant, &path).await?;
        let _: serde_json::Value = self.get(tenant, &format!("{path}/payments")).await?;
        let user = USERS[n as usize % USERS.len()];
        let invoices = format!("/api/billing/users/{user}/invoices");
        let _: serde_json::Value = self.get(tenant, &invoices).await?;
        if n.is_multiple_of(ORDER_EVERY) {
            self.place_order(tenant, user).await?;
        }
        let token = match tokens.get(&(tenant, user)) {
            Some(token) => token.clone(),
            None => self.log_in(tenant, user).await?,
        };
        let seen = self.look_at_oneself(tenant, &token).await;
        // One that has run out is of no use.
        match seen.as_ref().is_err_and(|error| error.status() == Some(StatusCode::UNAUTHORIZED)) {
            true => tokens.remove(&(tenant, user)),
            false => tokens.insert((tenant, user), token),
        };
        seen
    }

    async fn log_in(&self, tenant: &str, user: &str) -> Result<String, reqwest::Error> {
        let url = format!("{}/api/auth/login", self.base);
        let input = json!({ "email": email_of(user), "password": PASSWORD });
        let request = self.client.post(url).header(TENANT_HEADER, tenant).json(&input);
        let issued: Issued = request.send().await?.error_for_status()?.json().await?;
        Ok(issued.access_token)
    }

    async fn look_at_oneself(&self, tenant: &str, token: &str) -> Result<(), reqwest::Error> {
        let get = |path: &str| {
            let url = format!("{}{path}", self.base);
            self.client.get(url).header(TENANT_HEADER, tenant).bearer_auth(token).send()
        };
        get("/api/users/me").await?.error_for_status()?;
        get("/api/users/me/preferences").await?.error_for_status()?;
        let path = "/api/generator/projects";
        let projects: Vec<serde_json::Value> = get(path).await?.error_for_status()?.json().await?;
        if projects.len() < PROJECTS_MAX {
            let input = json!({ "prompt": "a page for a bakery in a small town" });
            let request = self.client.post(format!("{}{path}", self.base));
            let request = request.header(TENANT_HEADER, tenant).bearer_auth(token).json(&input);
            request.send().await?.error_for_status()?;
        }
        Ok(())
    }

    async fn place_order(&self, tenant: &str, user: &str) -> Result<(), reqwest::Error> {
        let order = json!({
            "orderId": format!("demo-{:016x}", fastrand::u64(..)),
            "userId": user,
            "units": fastrand::i64(1..=100),
        });
        let url = format!("{}/api/billing/orders", self.base);
        let request = self.client.post(url).header(TENANT_HEADER, tenant).json(&order);
        request.send().await?.error_for_status()?;
        Ok(())
    }

    async fn raise_rent(&self, tenant: &str, path: &str) -> Result<(), reqwest::Error> {
        let property: Property = self.get(tenant, path).await?;
        let change = json!({
            "address": property.address,
            "monthlyRentCents": property.monthly_rent_cents % 200_000 + 100,
            "rowVersion": property.row_version,
        });
        let url = format!("{}{path}", self.base);
        let request = self.client.put(url).header(TENANT_HEADER, tenant).json(&change);
        let reply = request.send().await?;
        // Someone else was faster: that is what row versions are for.
        if reply.status() != StatusCode::CONFLICT {
            reply.error_for_status()?;
        }
        Ok(())
    }

    async fn get<T: serde::de::DeserializeOwned>(
        &self,
        tenant: &str,
        path: &str,
    ) -> Result<T, reqwest::Error> {
        let url = format!("{}{path}", self.base);
        let request = self.client.get(url).header(TENANT_HEADER, tenant);
        request.send().await?.error_for_status()?.json().await
    }
}

/// A few are looked at often, most seldom.
fn favourite_of(len: usize) -> usize {
    let skewed = fastrand::f64().powi(3);
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let index = (skewed * len as f64) as usize;
    index
}
