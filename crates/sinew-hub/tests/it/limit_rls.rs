//! Envoy's rate limit service, asked with the messages that Envoy publishes.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::HeaderValue;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::{
    Entry, RateLimitOverride,
};
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::rate_limit::Unit;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::{
    Code, DescriptorStatus, RateLimit,
};
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use envoy_types::pb::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use envoy_types::pb::google::protobuf::UInt64Value;
use tempfile::NamedTempFile;
use tonic::Status;
use tonic::transport::Channel;

use crate::hub::{Hub, blocking, exit_code, sinew, text};
use crate::world::{Server, redis_cli, signal, start_redis, wait_until};

const OK: i32 = Code::Ok as i32;
const OVER_LIMIT: i32 = Code::OverLimit as i32;

/// Nothing is given back in less time than these tests take, but at the office.
const SETTINGS: &str = r#"
[limits]
per-ip = { algorithm = "gcra", quota = 3, per = "1h", on_down = "closed" }
per-path = { algorithm = "gcra", quota = 5, per = "24h", on_down = "open" }
per-user = { algorithm = "gcra", quota = 1, per = "1h", on_down = "local" }
office = { algorithm = "gcra", quota = 1000, per = "90s" }
tried = { algorithm = "gcra", quota = 1, per = "1h", shadow = true }

[[rls]]
domain = "edge"
descriptor = [{ key = "remote_address" }]
limit = "per-ip"

[[rls]]
domain = "edge"
descriptor = [{ key = "remote_address", value = "10.0.0.1" }]
limit = "office"

[[rls]]
domain = "edge"
descriptor = [{ key = "path" }]
limit = "per-path"

[[rls]]
domain = "edge"
descriptor = [{ key = "tenant" }, { key = "user" }]
limit = "per-user"
tenant_key = "tenant"

[[rls]]
domain = "edge"
descriptor = [{ key = "generic_key", value = "tried" }]
limit = "tried"

[[rls]]
domain = "edge"
descriptor = [{ key = "generic_key", value = "forgotten" }]
limit = "not-defined"
"#;

/// A hub, as an Envoy reaches it.
struct Edge {
    hub: Hub,
    address: String,
    client: RateLimitServiceClient<Channel>,
    server: Server,
}

impl Edge {
    async fn start() -> Self {
        Self::start_with("").await
    }

    async fn start_with(settings: &'static str) -> Self {
        let (hub, address, server) = blocking(move || {
            let server = start_redis();
            let mut file = NamedTempFile::new().unwrap();
            write!(file, "{settings}\n{SETTINGS}").unwrap();
            let store = format!("redis://127.0.0.1:{}", server.port);
            let config = file.path().to_str().unwrap();
            let hub =
                Hub::serve(&["--config", config, "--store", &store, "--rls-listen", "127.0.0.1:0"]);
            wait_until("the service for Envoy is up", || address_in(&hub.server.log()).is_some());
            let address = address_in(&hub.server.log()).unwrap();
            (hub, address, server)
        })
        .await;
        hub.until("ready").await;
        let client = RateLimitServiceClient::connect(format!("http://{address}")).await.unwrap();
        Self { hub, address, client, server }
    }

    async fn send(&self, request: RateLimitRequest) -> Result<RateLimitResponse, Status> {
        let answer = self.client.clone().should_rate_limit(request).await;
        answer.map(tonic::Response::into_inner)
    }

    async fn ask(&self, descriptors: &[RateLimitDescriptor]) -> RateLimitResponse {
        self.send(request(descriptors)).await.unwrap()
    }

    /// The only status, and whether the request may pass.
    async fn ask_one(&self, descriptor: RateLimitDescriptor) -> (i32, DescriptorStatus) {
        let mut answer = self.ask(&[descriptor]).await;
        assert_eq!(answer.statuses.len(), 1);
        (answer.overall_code, answer.statuses.remove(0))
    }

    /// What is left of it after one more was charged.
    async fn left(&self, descriptor: RateLimitDescriptor) -> u32 {
        let (code, status) = self.ask_one(descriptor).await;
        assert_eq!(code, OK);
        status.limit_remaining
    }
}

fn address_in(log: &str) -> Option<String> {
    let (line, _) = log.split_once("rls=")?.1.split_once('\n')?;
    Some(line.split_whitespace().next()?.to_owned())
}

fn request(descriptors: &[RateLimitDescriptor]) -> RateLimitRequest {
    RateLimitRequest {
        domain: "edge".to_owned(),
        descriptors: descriptors.to_vec(),
        hits_addend: 0,
    }
}

fn descriptor(entries: &[(&str, &str)]) -> RateLimitDescriptor {
    let entry =
        |(key, value): &(&str, &str)| Entry { key: (*key).to_owned(), value: (*value).to_owned() };
    RateLimitDescriptor {
        entries: entries.iter().map(entry).collect(),
        ..RateLimitDescriptor::default()
    }
}

fn ip(address: &str) -> RateLimitDescriptor {
    descriptor(&[("remote_address", address)])
}

fn path(path: &str) -> RateLimitDescriptor {
    descriptor(&[("path", path)])
}

fn user(tenant: &str, user: &str) -> RateLimitDescriptor {
    descriptor(&[("tenant", tenant), ("user", user)])
}

fn hits(descriptor: RateLimitDescriptor, hits: u64) -> RateLimitDescriptor {
    RateLimitDescriptor { hits_addend: Some(UInt64Value { value: hits }), ..descriptor }
}

fn instead(of: RateLimitDescriptor, requests_per_unit: u32, unit: i32) -> RateLimitDescriptor {
    RateLimitDescriptor { limit: Some(RateLimitOverride { requests_per_unit, unit }), ..of }
}

fn limit(name: &str, requests_per_unit: u32, unit: Unit) -> Option<RateLimit> {
    Some(RateLimit { name: name.to_owned(), requests_per_unit, unit: unit as i32 })
}

fn codes(answer: &RateLimitResponse) -> Vec<i32> {
    answer.statuses.iter().map(|status| status.code).collect()
}

fn header<'a>(headers: &'a [HeaderValue], name: &str) -> Option<&'a str> {
    let header = headers.iter().find(|header| header.key == name)?;
    Some(header.value.as_str())
}

#[tokio::test]
async fn each_descriptor_has_a_status_in_order_and_none_is_charged_where_one_is_over() {
    let edge = Edge::start().await;
    let all = [descriptor(&[("nothing", "1")]), ip("203.0.113.7"), path("/a")];
    let first = edge.ask(&all).await;
    assert_eq!((first.overall_code, codes(&first)), (OK, vec![OK; 3]));
    assert_eq!(first.statuses[0], DescriptorStatus { code: OK, ..DescriptorStatus::default() });
    let (per_ip, per_path) = (&first.statuses[1], &first.statuses[2]);
    assert_eq!(per_ip.current_limit, limit("per-ip", 3, Unit::Hour));
    assert_eq!(per_path.current_limit, limit("per-path", 5, Unit::Day));
    assert_eq!((per_ip.limit_remaining, per_path.limit_remaining), (2, 4));
    let reset = per_ip.duration_until_reset.unwrap();
    assert!((600..=1_200).contains(&reset.seconds), "a third of an hour: {reset:?}");
    let policy = header(&first.response_headers_to_add, "ratelimit-policy").unwrap();
    assert!(policy.contains("\"per-ip\";q=3;w=3600"), "{policy}");
    assert_eq!(header(&first.response_headers_to_add, "retry-after"), None);

    for _ in 0..2 {
        assert_eq!(edge.ask(&all).await.overall_code, OK);
    }
    // The second time, the hub knows by itself.
    for _ in 0..2 {
        let over = edge.ask(&all).await;
        assert_eq!((over.overall_code, codes(&over)), (OVER_LIMIT, vec![OK, OVER_LIMIT, OK]));
        assert_eq!(over.statuses[1].current_limit, limit("per-ip", 3, Unit::Hour));
        assert_eq!(over.statuses[1].limit_remaining, 0);
        let headers = &over.response_headers_to_add;
        let left = header(headers, "ratelimit").unwrap();
        assert!(left.contains("\"per-ip\";r=0"), "{left}");
        let seconds: u64 = header(headers, "retry-after").unwrap().parse().unwrap();
        assert!((1..=1_200).contains(&seconds), "{seconds}");
    }
    assert_eq!(edge.left(path("/a")).await, 1, "five, less three, less this one");
    assert_eq!(edge.left(ip("203.0.113.8")).await, 2, "another subject");
}

#[tokio::test]
async fn hits_are_the_descriptors_or_else_the_requests_and_none_looks_only() {
    let edge = Edge::start().await;
    let two = RateLimitRequest { hits_addend: 2, ..request(&[path("/a")]) };
    let answer = edge.send(two).await.unwrap();
    assert_eq!(answer.statuses[0].limit_remaining, 3);
    let its_own = RateLimitRequest { hits_addend: 2, ..request(&[hits(path("/a"), 1)]) };
    assert_eq!(edge.send(its_own).await.unwrap().statuses[0].limit_remaining, 2);

    for _ in 0..2 {
        assert_eq!(edge.left(hits(path("/a"), 0)).await, 2, "looked at, and not charged");
    }
    let (code, status) = edge.ask_one(hits(path("/a"), 3)).await;
    assert_eq!((code, status.limit_remaining), (OVER_LIMIT, 2), "more than is left");
    // What looks only stops what charges, and the other way round.
    assert_eq!(edge.left(hits(path("/a"), 2)).await, 0);
    assert_eq!(edge.ask_one(hits(path("/a"), 0)).await.0, OVER_LIMIT);
    let both = edge.ask(&[hits(path("/a"), 0), ip("203.0.113.7")]).await;
    assert_eq!((both.overall_code, codes(&both)), (OVER_LIMIT, vec![OVER_LIMIT, OK]));
    assert_eq!(edge.left(ip("203.0.113.7")).await, 2, "the first charge");
    // One denies for 20 minutes, the other for nearly five hours.
    let both = edge.ask(&[hits(path("/a"), 0), hits(ip("203.0.113.7"), 3)]).await;
    assert_eq!(codes(&both), [OVER_LIMIT; 2]);
    let waits = both.response_headers_to_add.iter().filter(|header| header.key == "retry-after");
    let waits: Vec<u64> = waits.map(|header| header.value.parse().unwrap()).collect();
    assert_eq!(waits.len(), 1, "{waits:?}");
    assert!((10_000..=17_280).contains(&waits[0]), "{waits:?}");
}

#[tokio::test]
async fn descriptors_of_one_subject_are_charged_together() {
    let edge = Edge::start().await;
    let answer = edge.ask(&[hits(path("/a"), 2), ip("203.0.113.7"), path("/a")]).await;
    assert_eq!((answer.overall_code, codes(&answer)), (OK, vec![OK; 3]));
    assert_eq!(answer.statuses[0].limit_remaining, 2);
    assert_eq!(answer.statuses[0], answer.statuses[2]);
    let over = edge.ask(&[hits(path("/a"), 2), path("/a")]).await;
    assert_eq!((over.overall_code, codes(&over)), (OVER_LIMIT, vec![OVER_LIMIT; 2]));
}

#[tokio::test]
async fn the_quota_that_a_descriptor_brings_is_counted_by_itself() {
    let edge = Edge::start().await;
    assert_eq!(edge.left(ip("203.0.113.7")).await, 2);
    let mine = || instead(ip("203.0.113.7"), 2, Unit::Year as i32);
    let (code, status) = edge.ask_one(mine()).await;
    assert_eq!((code, status.limit_remaining), (OK, 1));
    assert_eq!(status.current_limit, limit("per-ip", 2, Unit::Year));
    assert_eq!(edge.left(mine()).await, 0);
    assert_eq!(edge.ask_one(mine()).await.0, OVER_LIMIT);
    let together = edge.ask(&[ip("203.0.113.7"), instead(ip("203.0.113.7"), 9, 6)]).await;
    let left: Vec<u32> = together.statuses.iter().map(|status| status.limit_remaining).collect();
    assert_eq!(left, [1, 8], "neither disturbs the other");
    for asked in [hits(path("/a"), 0), path("/a")] {
        let none = instead(asked, 0, Unit::Second as i32);
        let over = edge.ask(&[path("/b"), none]).await;
        assert_eq!(over.overall_code, OVER_LIMIT, "nothing is admitted by a quota of nothing");
        assert_eq!(over.statuses[1].code, OVER_LIMIT);
    }
    assert_eq!(edge.left(path("/b")).await, 4);
}

#[tokio::test]
async fn the_most_specific_rule_says_the_limit() {
    let edge = Edge::start().await;
    let (code, status) = edge.ask_one(ip("10.0.0.1")).await;
    assert_eq!((code, status.current_limit), (OK, limit("office", 1_000, Unit::Unknown)));
    let other = RateLimitRequest { domain: "other".to_owned(), ..request(&[ip("203.0.113.7")]) };
    let answer = edge.send(other).await.unwrap();
    assert_eq!((answer.overall_code, answer.statuses[0].current_limit.clone()), (OK, None));
}

#[tokio::test]
async fn a_limit_that_is_tried_out_stops_no_one() {
    let edge = Edge::start().await;
    for _ in 0..3 {
        let (code, status) = edge.ask_one(descriptor(&[("generic_key", "tried")])).await;
        assert_eq!((code, status.code), (OK, OK));
    }
}

#[tokio::test]
async fn tenants_never_meet() {
    let edge = Edge::start().await;
    assert_eq!(edge.left(user("acme", "ada")).await, 0);
    assert_eq!(edge.ask_one(user("acme", "ada")).await.0, OVER_LIMIT);
    assert_eq!(edge.left(user("other", "ada")).await, 0);
    let keys = redis_cli(edge.server.port, &["--scan", "--pattern", "*rate-limit:per-user:*"]);
    let mut keys: Vec<&str> = keys.lines().collect();
    keys.sort_unstable();
    assert_eq!(keys, ["acme:rate-limit:per-user:ada", "other:rate-limit:per-user:ada"]);
    for two in [[user("acme", "bob"), user("other", "bob")], [user("acme", "bob"), path("/a")]] {
        let refused = edge.send(request(&two)).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
        assert!(refused.message().contains("expected all of one, or of none"), "{refused}");
    }
    assert_eq!(edge.left(path("/a")).await, 4);
}

#[tokio::test]
async fn no_value_is_too_long_to_be_counted() {
    let edge = Edge::start().await;
    let long = format!("/a?{}", "é: ".repeat(10_000));
    for left in [4, 3] {
        assert_eq!(edge.left(path(&long)).await, left);
    }
    assert_eq!(edge.left(path(&format!("{long}b"))).await, 4, "another subject");
    // As long as Envoy's headers may be, and in two descriptors.
    let longest = "a".repeat(60 << 10);
    let both = edge.ask(&[path(&longest), ip(&longest)]).await;
    assert_eq!((both.overall_code, codes(&both)), (OK, vec![OK; 2]));
    let mine = || instead(path(&long), 1, Unit::Year as i32);
    assert_eq!(edge.left(mine()).await, 0, "counted by itself");
    assert_eq!(edge.ask_one(mine()).await.0, OVER_LIMIT);
}

#[tokio::test]
async fn bad_requests_are_told_what_was_expected_and_charge_nothing() {
    let edge = Edge::start().await;
    let many = |count: u32| -> Vec<RateLimitDescriptor> {
        (0..count).map(|last| ip(&format!("203.0.113.{last}"))).collect()
    };
    let negative = RateLimitDescriptor { is_negative_hits: true, ..hits(path("/a"), 1) };
    let no_domain = RateLimitRequest { domain: String::new(), ..request(&[path("/a")]) };
    let bad = tonic::Code::InvalidArgument;
    for (request, code, told) in [
        (no_domain, bad, "no domain"),
        (request(&[]), bad, "expected 1 to 64"),
        (request(&many(65)), bad, "expected 1 to 64"),
        (request(&many(17)), bad, "expected 1 to 16"),
        (request(&[path("/a"), descriptor(&[])]), bad, "without an entry"),
        (request(&[path("/a"), descriptor(&[("", "a")])]), bad, "without a key"),
        (request(&[user("a_b", "ada")]), bad, "expected 1 to 64 of"),
        (request(&[instead(path("/a"), 1, 0)]), bad, "MONTH, YEAR or WEEK"),
        (request(&[path("/a"), negative]), tonic::Code::Unimplemented, "is_negative_hits"),
        (
            request(&[path("/a"), descriptor(&[("generic_key", "forgotten")])]),
            tonic::Code::FailedPrecondition,
            "\"not-defined\" is not defined",
        ),
        (request(&[path(&"a".repeat(300_000))]), tonic::Code::OutOfRange, "too large"),
    ] {
        let refused = edge.send(request).await.unwrap_err();
        assert_eq!(refused.code(), code, "{told}: {refused}");
        assert!(refused.message().contains(told), "{told}: {refused}");
    }
    assert_eq!(edge.left(path("/a")).await, 4);
    assert_eq!(edge.left(ip("203.0.113.1")).await, 2);
}

#[tokio::test]
async fn a_call_that_fails_is_told_in_the_log_also_where_it_could_not_be_read() {
    for (request, code) in [
        (request(&[]), tonic::Code::InvalidArgument),
        (request(&[path(&"a".repeat(300_000))]), tonic::Code::OutOfRange),
    ] {
        let edge = Edge::start().await;
        assert_eq!(edge.left(path("/a")).await, 4);
        assert!(
            !edge.hub.server.log().contains("call of Envoy's"),
            "what is answered is no failure"
        );
        assert_eq!(edge.send(request).await.unwrap_err().code(), code);
        blocking(move || {
            let told = || edge.hub.server.log().contains("a call of Envoy's failed");
            wait_until("the log tells", told);
        })
        .await;
    }
}

#[tokio::test]
async fn without_redis_each_limit_answers_as_it_is_defined() {
    let Edge { hub, client, mut server, .. } = Edge::start().await;
    let ask = async |descriptors: &[RateLimitDescriptor]| {
        let answer = client.clone().should_rate_limit(request(descriptors)).await;
        answer.map(tonic::Response::into_inner)
    };
    // How each is defined was heard of once.
    assert_eq!(ask(&[user("other", "ada")]).await.unwrap().overall_code, OK);
    assert_eq!(ask(&[path("/a"), ip("203.0.113.7")]).await.unwrap().overall_code, OK);
    let _server = blocking(move || {
        server.kill();
        server
    })
    .await;
    hub.until("degraded").await;
    for _ in 0..10 {
        assert_eq!(ask(&[path("/a")]).await.unwrap().overall_code, OK, "open");
    }
    for (local, code) in [("first", OK), ("second", OVER_LIMIT)] {
        let answer = ask(&[user("acme", "ada")]).await.unwrap();
        assert_eq!(answer.overall_code, code, "{local}: this process's share is all");
    }
    for unavailable in
        [&[ip("203.0.113.7")][..], &[path("/a"), ip("203.0.113.7")], &[hits(path("/a"), 0)]]
    {
        let failed = ask(unavailable).await.unwrap_err();
        assert_eq!(failed.code(), tonic::Code::Unavailable, "{failed}");
        assert!(!failed.message().contains("127.0.0.1"), "{failed}");
    }
}

#[tokio::test]
async fn a_hub_that_stops_answers_the_calls_under_way() {
    let edge = Edge::start_with("deadline = \"20s\"").await;
    let port = edge.server.port;
    assert_eq!(edge.left(path("/a")).await, 4);
    // A script waits for as long as writing does.
    assert_eq!(redis_cli(port, &["CLIENT", "PAUSE", "60000", "WRITE"]), "OK");
    let call = tokio::spawn({
        let mut client = edge.client.clone();
        async move { client.should_rate_limit(request(&[path("/a")])).await }
    });
    let (hub, address) = (edge.hub, edge.address);
    let hub = blocking(move || {
        let is_asked = || !redis_cli(port, &["INFO", "clients"]).contains("blocked_clients:0");
        wait_until("Redis is asked", is_asked);
        signal(hub.server.pid, "TERM");
        wait_until("no one else is let in", || TcpStream::connect(&address).is_err());
        assert_eq!(redis_cli(port, &["CLIENT", "UNPAUSE"]), "OK");
        hub
    })
    .await;
    let answer = tokio::time::timeout(Duration::from_secs(30), call).await.unwrap().unwrap();
    let answer = answer.unwrap().into_inner();
    assert_eq!((answer.overall_code, answer.statuses[0].limit_remaining), (OK, 3));
    assert!(!hub.server.log().contains("cut off"), "{}", hub.server.log());
}

#[test]
fn a_rule_whose_limit_is_not_in_the_file_is_warned_of_with_its_line() {
    let mut file = NamedTempFile::new().unwrap();
    write!(file, "rls_listen = \"127.0.0.1:0\"\n{SETTINGS}").unwrap();
    let path = file.path().to_str().unwrap();
    let line = SETTINGS.lines().position(|line| line.contains("\"not-defined\"")).unwrap() + 2;
    let told = format!("{path}:{line}: limit \"not-defined\" is not defined here");

    let check = sinew(&["config", "check", "--config", path]);
    let warnings = text(&check.stderr);
    assert_eq!(exit_code(&check), 0, "{warnings}");
    assert!(warnings.starts_with(&format!("warning: {told}")), "{warnings}");
    assert!(warnings.contains("expected one of office, per-ip, per-path, per-user, tried"));
    assert_eq!(warnings.lines().count(), 1, "{warnings}");
    assert!(text(&check.stdout).contains("is valid"));

    let hub = Hub::serve(&["--config", path]);
    let log = hub.server.log();
    let warned = |line: &str| line.contains("WARN") && line.contains(&told);
    assert!(log.lines().any(warned), "{log}");
}

#[test]
fn an_address_that_will_not_do_is_refused_by_its_flag() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (address, code, told) in [
        ("here", 2, "--rls-listen: invalid address"),
        ("0.0.0.0:0", 2, "--rls-listen 0.0.0.0:0 can be reached by others"),
        (taken.as_str(), 1, "choose another address with --rls-listen"),
    ] {
        let output = sinew(&["serve", "--listen", "127.0.0.1:0", "--rls-listen", address]);
        let errors = text(&output.stderr);
        assert_eq!(exit_code(&output), code, "{errors}");
        assert!(errors.contains(told), "{errors}");
    }
}
