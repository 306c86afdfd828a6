//! Instances of the platform on one Redis and one database, and people who sign in to them.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sinew::Sinew;
use sinew::limit::http::TrustedProxies;
use sinew_platform::events::Workers;
use sinew_platform::remote::Remote;
use sinew_platform::{Database, router};
use tower::ServiceExt;

use crate::world::SHARED_REDIS;

pub const LONG: Duration = Duration::from_secs(120);
pub const PASSWORD: &str = "correct horse";

/// Two instances, of a deployment that no other test has.
pub struct Fleet {
    pub first: Instance,
    pub second: Instance,
    pub prefix: String,
    pub redis_port: u16,
    tenant: String,
    database: Database,
}

pub struct Instance {
    app: Router,
    tenant: String,
}

/// Who sends a request.
#[derive(Clone, Default)]
pub struct Client {
    pub token: Option<String>,
    /// The last byte of the address.
    pub address: u8,
    pub device: Option<&'static str>,
}

pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
    pub text: String,
}

/// Somebody with an account.
pub struct Person {
    pub user_id: String,
    pub email: String,
}

impl Fleet {
    pub async fn open(url: &str) -> Self {
        let port = tokio::task::spawn_blocking(|| SHARED_REDIS.port).await.unwrap();
        Self::open_on(url, port).await
    }

    pub async fn open_on(url: &str, redis_port: u16) -> Self {
        let database = Database::open(url).await.expect("a database");
        let prefix = format!("p{:x}_", fastrand::u64(..));
        // Tests of one database run beside each other: each is a tenant of its own.
        let tenant = format!("t{:x}", fastrand::u64(..));
        let start = async || Instance::start(redis_port, &prefix, &tenant, &database).await;
        let (first, second) = (start().await, start().await);
        Self { first, second, prefix, redis_port, tenant, database }
    }

    /// The first one goes away, and comes again.
    pub async fn restart_first(&mut self) {
        let Self { redis_port, prefix, tenant, database, .. } = &*self;
        let again = Instance::start(*redis_port, prefix, tenant, database).await;
        self.first = again;
    }

    /// What goes on beside the routes of another instance.
    pub async fn workers(&self) -> Workers {
        self.workers_with(&Remote::default()).await
    }

    /// The same, and those whom it asks.
    pub async fn workers_with(&self, remote: &Remote) -> Workers {
        let sinew = sinew_on(self.redis_port, &self.prefix).await;
        Workers::start(&sinew, &self.database, remote)
    }

    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Somebody new.
    pub async fn register(&self) -> Person {
        let email = format!("u{:x}@example.com", fastrand::u64(..));
        let body = json!({"email": email, "password": PASSWORD});
        let path = "/api/auth/register";
        let reply = self.first.send(&Client::default(), Method::POST, path, Some(body)).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.body);
        assert_eq!(reply.body["email"], email.as_str());
        Person { user_id: reply.body["userId"].as_str().unwrap().to_owned(), email }
    }

    /// Somebody new, signed in at the first instance.
    pub async fn client(&self) -> (Person, Client) {
        let person = self.register().await;
        let client = self.first.sign_in(&person).await;
        (person, client)
    }
}

impl Instance {
    async fn start(port: u16, prefix: &str, tenant: &str, database: &Database) -> Self {
        let sinew = sinew_on(port, prefix).await;
        let app = router(sinew, database.clone(), &TrustedProxies::default()).unwrap();
        Self { app, tenant: tenant.to_owned() }
    }

    /// The same instance, asked by clients of another tenant.
    pub fn of_tenant(&self, tenant: &str) -> Self {
        Self { app: self.app.clone(), tenant: tenant.to_owned() }
    }

    pub async fn send(
        &self,
        client: &Client,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("X-Tenant-Id", &self.tenant)
            .header("Content-Type", "application/json")
            .extension(ConnectInfo(SocketAddr::from(([203, 0, 113, client.address], 4_711))));
        if let Some(token) = &client.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if let Some(device) = client.device {
            request = request.header("User-Agent", device);
        }
        let body = body.map_or_else(Body::empty, |b| Body::from(b.to_string()));
        let response = self.app.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Reply { status: parts.status, headers: parts.headers, body, text }
    }

    pub async fn get(&self, client: &Client, path: &str) -> Reply {
        self.send(client, Method::GET, path, None).await
    }

    pub async fn log_in(&self, client: &Client, email: &str, password: &str) -> Reply {
        let body = json!({"email": email, "password": password});
        self.send(client, Method::POST, "/api/auth/login", Some(body)).await
    }

    pub async fn sign_in(&self, person: &Person) -> Client {
        self.sign_in_as(person, Client::default()).await
    }

    /// From such a device.
    pub async fn sign_in_as(&self, person: &Person, client: Client) -> Client {
        let reply = self.log_in(&client, &person.email, PASSWORD).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
        assert_eq!(reply.body["userId"], person.user_id.as_str());
        let token = reply.body["accessToken"].as_str().expect("a token").to_owned();
        Client { token: Some(token), ..client }
    }
}

/// A connection of its own to a deployment.
pub async fn sinew_on(port: u16, prefix: &str) -> Sinew {
    let sinew = Sinew::builder().prefix(prefix).deadline(Duration::from_secs(10));
    sinew.connect(&format!("redis://127.0.0.1:{port}")).await.unwrap()
}
