//! Listening for Envoy, and what bounds each call.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{Request, Response};
use axum::serve::Listener;
use futures_util::stream::{self, Stream};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tonic::Status;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::transport::Server;
use tonic_prost::ProstCodec;

use super::answer::answer;
use super::message::{RateLimitRequest, RateLimitResponse};
use super::plan::Plan;
use super::rules::Rules;
use crate::hub::Hub;
use crate::serve::{stopped, until_drained};

const SHOULD_RATE_LIMIT: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
/// Envoy takes 60 KiB of headers from a client unless it is told otherwise, and may send one in several
/// descriptors.
const MESSAGE_LEN_MAX: usize = 256 << 10;
const CALLS_AT_ONCE_MAX: usize = 4_096;
/// The same on one connection: an Envoy has one for each of its threads.
const STREAMS_MAX: u32 = 1_024;
/// Until the answer begins; less where Envoy says so.
const CALL_MAX: Duration = Duration::from_secs(30);
/// How often a silent Envoy is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How often a failed call makes a line in the log.
const TELL_EVERY: Duration = Duration::from_secs(1);

struct Service {
    hub: Hub,
    rules: Rules,
    places: Semaphore,
    /// When a failed call was last told of.
    told: Mutex<Option<Instant>>,
}

/// Serves until the hub is to stop, then until the calls under way are done.
pub(crate) async fn serve(listener: TcpListener, hub: Hub, rules: Rules) -> io::Result<()> {
    let stopping = hub.stopping();
    let places = Semaphore::new(CALLS_AT_ONCE_MAX);
    let service = Arc::new(Service { hub, rules, places, told: Mutex::new(None) });
    let calls = tower::service_fn(move |request: Request<Body>| {
        let service = Arc::clone(&service);
        async move { Ok::<_, Infallible>(service.call(request).await) }
    });
    // HTTP/2 alone, which no page in a browser speaks without TLS.
    let server = Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .timeout(CALL_MAX)
        .http2_keepalive_interval(Some(PING_EVERY))
        .serve_with_incoming_shutdown(calls, connections(listener), stopped(stopping.clone()));
    until_drained(async { server.await.map_err(io::Error::other) }, stopping).await
}

fn connections(listener: TcpListener) -> impl Stream<Item = io::Result<TcpStream>> {
    stream::unfold(listener, |mut listener| async move {
        // This one waits when the system has no connection to give.
        let (connection, _) = Listener::accept(&mut listener).await;
        // Answers are small, and someone waits for each.
        let _ = connection.set_nodelay(true);
        Some((Ok(connection), listener))
    })
}

impl Service {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        if request.uri().path() != SHOULD_RATE_LIMIT {
            let told = format!("no such method: expected {SHOULD_RATE_LIMIT}");
            return Status::unimplemented(told).into_http();
        }
        let Ok(_place) = self.places.try_acquire() else {
            let told = format!("more than {CALLS_AT_ONCE_MAX} calls at once: try again soon");
            let busy = Status::unavailable(told);
            self.tell(&busy);
            return busy.into_http();
        };
        let decide = move |request: tonic::Request<RateLimitRequest>| async move {
            let answer = self.should_rate_limit(request.into_inner()).await;
            answer.map(tonic::Response::new)
        };
        let response = Grpc::new(ProstCodec::<RateLimitResponse, RateLimitRequest>::default())
            .max_decoding_message_size(MESSAGE_LEN_MAX)
            .unary(tower::service_fn(decide), request)
            .await;
        // Also that of a request that could not be read. What is answered has its status at the end.
        if let Some(status) = Status::from_header_map(response.headers()) {
            self.tell(&status);
        }
        response
    }

    async fn should_rate_limit(
        &self,
        request: RateLimitRequest,
    ) -> Result<RateLimitResponse, Status> {
        let plan = Plan::of(&request, &self.rules, &self.hub).await?;
        // It may be as large as a message, and the plan has what is needed of it.
        drop(request);
        let limiter = self.hub.limiter(plan.tenant.as_ref());
        answer(&limiter.map_err(Status::invalid_argument)?, &plan).await
    }

    /// Envoy lets a request pass when a call fails, unless it is told otherwise: someone should know.
    fn tell(&self, status: &Status) {
        let (now, mut told) = (Instant::now(), self.told.lock());
        if told.is_none_or(|at| now.duration_since(at) >= TELL_EVERY) {
            *told = Some(now);
            tracing::warn!(code = ?status.code(), why = status.message(), "a call of Envoy's failed");
        }
    }
}
