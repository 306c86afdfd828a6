//! What `RateLimitLayer` promises, through a real server and a real client. Header fields are read by a
//! parser of structured fields that is not ours.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use futures_util::future::join_all;
use reqwest::Client;
use serde_json::Value;
use sfv::{List, ListEntry, Parser};
use sinew::limit::http::{
    HeaderStyle, Rule, TrustedProxies, rate_limit_headers, too_many_requests,
};
use sinew::limit::{DAY, Down, HOUR, Limit, MINUTE, Per, SECOND};
use sinew::{Clock, ErrorKind, RateLimitLayer, Sinew, Tenancy};
use tokio::net::TcpListener;

use crate::http_cache::{Call, Fields, Origin, Reply, Site as PlainSite, always};
use crate::laws::keep;
use crate::world::{Store, free_port};

/// A server behind limits, which knows who is connected, and a client of it.
struct Site {
    origin: Arc<Origin>,
    url: String,
    client: Client,
}

impl Site {
    /// A service that always answers 200, with the number of the call as content.
    async fn behind(layer: RateLimitLayer) -> Self {
        Self::answering(layer, always(200, &[])).await
    }

    async fn answering(
        layer: RateLimitLayer,
        answer: impl Fn(&Call) -> Response + Send + Sync + 'static,
    ) -> Self {
        let origin = Origin::new(answer);
        let router = origin.router().layer(layer);
        Self::serving(origin, router).await
    }

    async fn serving(origin: Arc<Origin>, router: Router) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a port");
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(axum::serve(listener, service).into_future());
        let client = Client::builder().no_proxy().build().expect("a client");
        Self { origin, url: format!("http://{address}"), client }
    }

    async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[]).await
    }

    async fn get_with(&self, path: &str, fields: Fields<'_>) -> Reply {
        self.send(Method::GET, path, fields).await
    }

    async fn send(&self, method: Method, path: &str, fields: Fields<'_>) -> Reply {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        for &(name, value) in fields {
            request = request.header(name, value);
        }
        let response = request.send().await.expect("a response");
        let (status, headers) = (response.status(), response.headers().clone());
        let content = response.bytes().await.expect("all of it").to_vec();
        Reply { status, headers, content }
    }
}

type Member = (String, BTreeMap<String, i64>);

/// The members of a list: their names and parameters.
fn members(headers: &HeaderMap, field: &str) -> Vec<Member> {
    let lines: Vec<_> =
        headers.get_all(field).iter().map(|line| line.to_str().expect("text")).collect();
    let list: List = Parser::new(&lines.join(", ")).parse().expect("a list of RFC 9651");
    let member = |entry: ListEntry| {
        let ListEntry::Item(item) = entry else { panic!("an inner list") };
        let name = item.bare_item.as_string().expect("a string").as_str().to_owned();
        let number = |value: &sfv::BareItem| i64::from(value.as_integer().expect("an integer"));
        let params =
            item.params.iter().map(|(key, value)| (key.as_str().to_owned(), number(value)));
        (name, params.collect())
    };
    list.into_iter().map(member).collect()
}

fn policies(reply: &Reply) -> Vec<Member> {
    members(&reply.headers, "ratelimit-policy")
}

fn standings(reply: &Reply) -> Vec<Member> {
    members(&reply.headers, "ratelimit")
}

/// The limits that a request fell under.
fn named(reply: &Reply) -> Vec<String> {
    policies(reply).into_iter().map(|(name, _)| name).collect()
}

fn member(name: &str, params: &[(&str, i64)]) -> Member {
    let params = params.iter().map(|(key, value)| ((*key).to_owned(), *value));
    (name.to_owned(), params.collect())
}

fn number(headers: &HeaderMap, field: &str) -> Option<i64> {
    Some(headers.get(field)?.to_str().expect("text").parse().expect("a whole number"))
}

fn problem(reply: &Reply) -> Value {
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    let problem: Value = serde_json::from_slice(&reply.content).expect("JSON");
    assert_eq!(problem["status"], reply.status.as_u16());
    assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
    problem
}

/// Who a test says that it is.
fn user(request: &Parts) -> Option<String> {
    Some(request.headers.get("x-user")?.to_str().ok()?.to_owned())
}

const ADA: Fields<'static> = &[("x-user", "ada")];
const X_SET: [&str; 3] = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];

async fn layer(store: &Store, rules: impl IntoIterator<Item = Rule>) -> RateLimitLayer {
    with_rules(RateLimitLayer::new(store.tenant("acme").await.limiter()), rules)
}

fn with_rules(layer: RateLimitLayer, rules: impl IntoIterator<Item = Rule>) -> RateLimitLayer {
    rules.into_iter().fold(layer, |layer, rule| layer.rule(rule).expect("a rule"))
}

laws! {
    async fn an_answer_says_how_its_limits_stand(store: Store) {
        let per_user = Rule::of(Limit::gcra("per-user", 100.per(MINUTE))).by(user);
        let all = Rule::of(Limit::fixed_window("all.requests", 7.per(DAY)));
        let site = Site::behind(layer(&store, [per_user, all]).await).await;
        let reply = site.get_with("/", ADA).await;
        assert_eq!((reply.status, reply.text()), (StatusCode::OK, "1"));
        let policy = "\"per-user\";q=100;w=60, \"all.requests\";q=7;w=86400";
        assert_eq!(reply.header("ratelimit-policy"), Some(policy));
        let expected = [
            member("per-user", &[("q", 100), ("w", 60)]),
            member("all.requests", &[("q", 7), ("w", 86_400)]),
        ];
        assert_eq!(policies(&reply), expected);
        let standings = standings(&reply);
        // One of a hundred a minute is there again in 600 ms.
        assert_eq!(standings[0], member("per-user", &[("r", 99), ("t", 1)]));
        let (name, all) = &standings[1];
        assert_eq!((name.as_str(), all["r"], standings.len()), ("all.requests", 6, 2));
        assert!((1..=86_400).contains(&all["t"]));
        // Of one of the two, of which the smaller share is left.
        let x_set = X_SET.map(|field| number(&reply.headers, field));
        assert_eq!(x_set, [Some(7), Some(6), Some(all["t"])]);
        assert_eq!(reply.header("retry-after"), None);
    }

    async fn a_denial_says_why_and_until_when_and_charges_nothing(store: Store) {
        let (calls, all) = (Limit::gcra("calls", 2.per(HOUR)), Limit::gcra("all", 100.per(DAY)));
        let rules = [Rule::of(all.clone()), Rule::of(calls).by(user)];
        let site = Site::behind(layer(&store, rules).await).await;
        for _ in 0..2 {
            assert_eq!(site.get_with("/", ADA).await.status, StatusCode::OK);
        }
        // Of the second one, many stores say without asking again.
        for _ in 0..2 {
            let reply = site.get_with("/", ADA).await;
            assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
            let problem = problem(&reply);
            let uri = "https://iana.org/assignments/http-problem-types#quota-exceeded";
            assert_eq!(problem["type"], uri);
            assert_eq!(problem["title"], "Too Many Requests");
            assert_eq!(problem["violated-policies"], serde_json::json!(["calls"]));
            let wait = number(&reply.headers, "retry-after").expect("it can pass again");
            assert!((1..=1_800).contains(&wait), "{wait}");
            assert_eq!(named(&reply), ["all", "calls"]);
            let standings = standings(&reply);
            assert!(standings.contains(&member("calls", &[("r", 0), ("t", wait)])));
            let x_set = X_SET.map(|field| number(&reply.headers, field));
            assert_eq!(x_set, [Some(2), Some(0), Some(wait)]);
        }
        assert_eq!(site.origin.calls(), 2);
        let limiter = store.tenant("acme").await.limiter();
        let left = limiter.peek([all.of("all")]).await.unwrap().limits()[0].remaining;
        assert_eq!(left, 98);
        // Others have their own.
        assert_eq!(site.get_with("/", &[("x-user", "bob")]).await.status, StatusCode::OK);
    }

    async fn instances_of_a_service_share_its_limits_to_the_last_request(store: Store) {
        let mut sites = Vec::new();
        for _ in 0..2 {
            let rule = Rule::of(Limit::gcra("calls", 20.per(DAY))).by(user);
            sites.push(Site::behind(layer(&store, [rule]).await).await);
        }
        let asked = sites.iter().flat_map(|site| (0..30).map(move |_| site.get_with("/", ADA)));
        let asked = join_all(asked).await;
        let passed = asked.iter().filter(|reply| reply.status == StatusCode::OK).count();
        assert_eq!(passed, 20);
        assert_eq!(sites.iter().map(|site| site.origin.calls()).sum::<usize>(), 20);
    }

    async fn a_request_falls_under_the_rules_for_its_path_and_method(store: Store) {
        let rule = |name: &str| Rule::of(Limit::gcra(name, 1_000.per(DAY)));
        let rules = [
            rule("post").on("/posts/{id}").methods([Method::POST, Method::PUT]),
            rule("api").on("/api/{*rest}").on("/v2/{*rest}"),
            rule("read").on("/pages").methods([Method::GET]),
            rule("guests").on("/pages").unless(|request| user(request).is_some()),
            rule("users").on("/pages").by(user),
        ];
        let site = Site::behind(layer(&store, rules).await).await;
        for (method, path, fields, expected) in [
            (Method::HEAD, "/pages", ADA, &["read", "users"][..]),
            (Method::POST, "/posts/7", &[], &["post"]),
            (Method::PUT, "/posts/7?draft=1", &[], &["post"]),
            (Method::GET, "/posts/7", &[], &[]),
            (Method::POST, "/posts", &[], &[]),
            (Method::POST, "/posts/7/8", &[], &[]),
            (Method::GET, "/api", &[], &["api"]),
            (Method::DELETE, "/api/a/b", &[], &["api"]),
            (Method::GET, "/v2/", &[], &["api"]),
            (Method::GET, "/apis", &[], &[]),
            (Method::GET, "/pages", &[], &["read", "guests"]),
            (Method::POST, "/pages", ADA, &["users"]),
            (Method::GET, "/", ADA, &[]),
        ] {
            let reply = site.send(method.clone(), path, fields).await;
            assert_eq!(reply.status, StatusCode::OK);
            assert_eq!(named(&reply), expected, "{method} {path} {fields:?}");
            if expected.is_empty() {
                let ours = |name: &str| name.contains("ratelimit");
                assert!(!reply.headers.keys().any(|name| ours(name.as_str())), "{reply:?}");
            }
        }
    }

    async fn a_limit_is_charged_once_by_the_first_of_its_rules_that_applies(store: Store) {
        let calls = Limit::gcra("calls", 100.per(DAY));
        let rules = [
            Rule::of(calls.clone()).by(user).on("/search").cost(|_| 10),
            Rule::of(calls.clone()).by(user).on("/free").cost(|_| 0),
            Rule::of(calls.clone()).by(user).unless(|request| request.uri.path() == "/free"),
            Rule::of(calls.clone()).by(|_| Some("nobody")).on("/search"),
        ];
        let site = Site::behind(layer(&store, rules).await).await;
        for (path, left) in [("/search", 90), ("/", 89), ("/search", 79)] {
            let standings = standings(&site.get_with(path, ADA).await);
            assert_eq!((standings.len(), standings[0].1["r"]), (1, left), "{path}");
        }
        assert!(named(&site.get_with("/free", ADA).await).is_empty());
        assert_eq!(standings(&site.get("/search").await)[0].1["r"], 99, "of nobody");
    }

    async fn a_cost_that_never_passes_has_no_time_to_try_again(store: Store) {
        let rule = Rule::of(Limit::fixed_window("calls", 10.per(DAY))).cost(|_| 11);
        let site = Site::behind(layer(&store, [rule]).await).await;
        let reply = site.get("/").await;
        assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
        assert!(problem(&reply)["detail"].as_str().unwrap().contains("a smaller one"));
        assert_eq!(reply.header("retry-after"), None);
        assert_eq!(standings(&reply), [member("calls", &[("r", 10)])]);
    }

    async fn a_shadow_stops_no_one_and_is_not_shown(store: Store) {
        let rules = [
            Rule::of(Limit::gcra("shadow", 1.per(DAY)).shadow()),
            Rule::of(Limit::gcra("calls", 2.per(DAY))),
        ];
        let site = Site::behind(layer(&store, rules).await).await;
        for status in [StatusCode::OK, StatusCode::OK, StatusCode::TOO_MANY_REQUESTS] {
            let reply = site.get("/").await;
            assert_eq!((reply.status, named(&reply)), (status, vec!["calls".to_owned()]));
            assert!(standings(&reply).iter().all(|(name, _)| name == "calls"));
            if status != StatusCode::OK {
                assert_eq!(problem(&reply)["violated-policies"], serde_json::json!(["calls"]));
            }
        }
    }

    async fn each_tenant_has_limits_of_its_own(store: Store) {
        let rule = Rule::of(Limit::gcra("calls", 1.per(DAY))).on("/api/{*rest}");
        let layer = RateLimitLayer::per_tenant(store.process().await).unwrap();
        let site = Site::behind(with_rules(layer, [rule])).await;
        for (tenant, status) in [("acme", 200), ("acme", 429), ("other", 200), ("a b", 400)] {
            let reply = site.get_with("/api/x", &[("x-tenant-id", tenant)]).await;
            assert_eq!(reply.status.as_u16(), status, "{tenant}");
            if status >= 400 {
                problem(&reply);
            }
        }
        assert_eq!(site.get("/api/x").await.status, StatusCode::BAD_REQUEST);
        assert_eq!(site.get("/health").await.status, StatusCode::OK, "no rule needs to know");
        assert_eq!(site.origin.calls(), 3);
    }

    async fn clients_are_told_apart_by_their_address_and_not_by_what_they_say(store: Store) {
        let calls = Limit::gcra("calls", 1.per(DAY));
        let proxies = TrustedProxies::new(["127.0.0.0/8"]).unwrap();
        let rule = Rule::of(calls.clone()).by_client_ip(proxies);
        let site = Site::behind(layer(&store, [rule]).await).await;
        for (field, value, status) in [
            ("x-forwarded-for", "203.0.113.7", 200),
            ("x-forwarded-for", "203.0.113.7", 429),
            ("x-forwarded-for", "198.51.100.1, 203.0.113.7", 429),
            ("x-forwarded-for", "::ffff:203.0.113.7", 429),
            ("forwarded", "for=198.51.100.1, for=\"203.0.113.7:4711\"", 429),
            ("x-forwarded-for", "203.0.113.8", 200),
            ("x-forwarded-for", "2001:db8:1:2::1", 200),
            ("x-forwarded-for", "2001:db8:1:2:ffff::1", 429),
            ("forwarded", "for=\"[2001:db8:1:2::9]\"", 429),
            ("x-forwarded-for", "2001:db8:1:3::1", 200),
            ("x-forwarded-for", "unknown", 200),
            ("x-forwarded-for", "garbage", 429),
        ] {
            let reply = site.get_with("/", &[(field, value)]).await;
            assert_eq!(reply.status.as_u16(), status, "{field}: {value}");
        }
        let limiter = store.tenant("acme").await.limiter();
        for subject in ["203.0.113.7", "2001:db8:1:2::/64", "127.0.0.1"] {
            assert!(!limiter.peek([calls.of(subject)]).await.unwrap().is_allowed(), "{subject}");
        }

        let nobody = TrustedProxies::default();
        let rule = Rule::of(Limit::gcra("direct", 1.per(DAY))).by_client_ip(nobody);
        let site = Site::behind(layer(&store, [rule]).await).await;
        for (value, status) in [("203.0.113.7", 200), ("203.0.113.8", 429)] {
            let reply = site.get_with("/", &[("x-forwarded-for", value)]).await;
            assert_eq!(reply.status.as_u16(), status);
        }
    }

    async fn what_a_service_says_itself_stays(store: Store) {
        let rule = Rule::of(Limit::gcra("calls", 100.per(DAY)));
        let layer = layer(&store, [rule]).await;
        let own: Fields<'_> = &[
            ("ratelimit-policy", "\"own\";q=5;w=1"),
            ("ratelimit", "\"own\";r=3"),
            ("x-ratelimit-remaining", "3"),
        ];
        let reply = Site::answering(layer, always(201, own)).await.get("/").await;
        assert_eq!((reply.status, reply.text()), (StatusCode::CREATED, "1"));
        assert_eq!(named(&reply), ["own", "calls"]);
        assert_eq!(standings(&reply)[0], member("own", &[("r", 3)]));
        assert_eq!(standings(&reply)[1].1["r"], 99);
        assert_eq!(X_SET.map(|field| number(&reply.headers, field)), [None, Some(3), None]);
    }

    async fn a_subject_that_is_too_long_is_a_bad_request(store: Store) {
        let rule = Rule::of(Limit::gcra("calls", 100.per(DAY))).by(user);
        let site = Site::behind(layer(&store, [rule]).await).await;
        let long = "x".repeat(1_100);
        let reply = site.get_with("/", &[("x-user", long.as_str())]).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        assert!(!problem(&reply).to_string().contains(&long));
        assert_eq!(site.origin.calls(), 0);
    }
}

#[test]
fn header_fields_are_those_of_the_style() {
    keep(|| async {
        for (style, has_draft, has_x) in [
            (HeaderStyle::Draft, true, false),
            (HeaderStyle::Legacy, false, true),
            (HeaderStyle::Both, true, true),
            (HeaderStyle::None, false, false),
        ] {
            let rule = Rule::of(Limit::gcra("calls", 1.per(DAY)));
            let layer = with_rules(RateLimitLayer::new(Sinew::embedded().limiter()), [rule]);
            let site = Site::behind(layer.headers(style)).await;
            for status in [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS] {
                let reply = site.get("/").await;
                assert_eq!(reply.status, status);
                for field in ["ratelimit-policy", "ratelimit"] {
                    assert_eq!(reply.header(field).is_some(), has_draft, "{style:?} {field}");
                }
                for field in X_SET {
                    assert_eq!(reply.header(field).is_some(), has_x, "{style:?} {field}");
                }
                let waits = reply.header("retry-after").is_some();
                assert_eq!(waits, status != StatusCode::OK, "whatever the style");
            }
        }
    });
}

#[test]
fn a_nested_router_is_asked_for_whole_paths() {
    keep(|| async {
        let rule = Rule::of(Limit::gcra("api", 100.per(DAY))).on("/api/{*rest}");
        let layer = with_rules(RateLimitLayer::new(Sinew::embedded().limiter()), [rule]);
        let origin = Origin::new(always(200, &[]));
        let nested = origin.router().layer(layer);
        let router = Router::new().nest("/api", nested.clone()).nest("/other", nested);
        let site = Site::serving(origin, router).await;
        for (path, expected) in [
            ("/api", &["api"][..]),
            ("/api/x", &["api"]),
            ("/api/x/y/", &["api"]),
            ("/other", &[]),
            ("/other/x", &[]),
            ("/other/api/x", &[]),
        ] {
            let reply = site.get(path).await;
            assert_eq!(reply.status, StatusCode::OK, "{path}");
            assert_eq!(named(&reply), expected, "{path}");
        }
    });
}

#[test]
fn nobody_passes_a_limit_by_address_where_addresses_are_not_known() {
    keep(|| async {
        let rule = Rule::of(Limit::gcra("calls", 100.per(DAY)))
            .by_client_ip(TrustedProxies::default())
            .on("/api/{*rest}");
        let layer = with_rules(RateLimitLayer::new(Sinew::embedded().limiter()), [rule]);
        let origin = Origin::new(always(200, &[]));
        let router = origin.router().layer(layer);
        // This one does not say who is connected.
        let site = PlainSite::serving(origin, router).await;
        for _ in 0..2 {
            let reply = site.get("/api").await;
            assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
            // What is missing is for the log.
            assert_eq!(problem(&reply)["detail"], "the address of the client is not known");
        }
        assert_eq!(site.calls(), 0);
        assert_eq!(site.get("/").await.status, StatusCode::OK);
    });
}

#[test]
fn rules_that_cannot_be_are_refused_when_the_layer_is_made() {
    keep(|| async {
        let layer = || RateLimitLayer::new(Sinew::embedded().limiter());
        let limit = || Limit::gcra("calls", 100.per(DAY));
        for (rule, expected) in [
            (Rule::of(Limit::gcra("a name", 1.per(DAY))), "invalid limit"),
            (Rule::of(Limit::gcra("calls", 0.per(DAY))), "a quota of 0"),
            (Rule::of(limit()).on("/api/*"), "{*name}"),
            (Rule::of(limit()).on("api").on("/api"), "invalid path \"api\""),
        ] {
            let error = layer().rule(rule).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Rejected);
            assert!(error.to_string().contains(expected), "{error}");
        }
        let sixteen = (0..16).map(|n| Rule::of(Limit::gcra(format!("limit{n}"), 1.per(DAY))));
        let error = with_rules(layer(), sixteen).rule(Rule::of(limit())).unwrap_err();
        assert!(error.to_string().contains("at most 16"), "{error}");
        let again = with_rules(layer(), [Rule::of(limit()), Rule::of(limit()).by(user)]);
        let error = again.rule(Rule::of(Limit::gcra("calls", 99.per(DAY)))).unwrap_err();
        assert!(error.to_string().contains("in two ways"), "{error}");
        let single = Sinew::builder().tenancy(Tenancy::Single).embedded().unwrap();
        let error = RateLimitLayer::per_tenant(single).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
    });
}

#[test]
fn each_limit_answers_as_it_says_where_there_is_no_redis() {
    keep(|| async {
        let sinew = Sinew::connect_lazy(&format!("redis://127.0.0.1:{}", free_port())).unwrap();
        let limit = |name: &str, down| Limit::gcra(name, 2.per(DAY)).on_down(down);
        let rules = [
            Rule::of(limit("open", Down::Open)).on("/open"),
            Rule::of(limit("closed", Down::Closed)).on("/closed").on("/both"),
            Rule::of(limit("local", Down::Local)).on("/local").on("/both"),
        ];
        let site = Site::behind(with_rules(RateLimitLayer::new(sinew.limiter()), rules)).await;
        for _ in 0..4 {
            let reply = site.get("/open").await;
            assert_eq!(reply.status, StatusCode::OK);
            assert_eq!(standings(&reply), [member("open", &[("r", 2)])]);
        }
        for path in ["/closed", "/both"] {
            let reply = site.get(path).await;
            assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
            let problem = problem(&reply);
            let uri = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";
            assert_eq!(problem["type"], uri);
            assert_eq!(problem["violated-policies"], serde_json::json!(["closed"]));
            assert_eq!(number(&reply.headers, "retry-after"), Some(1));
            assert!(standings(&reply).contains(&member("closed", &[("r", 0), ("t", 1)])));
        }
        // Denied by the closed one, so charged to neither.
        for status in [200, 200, 429] {
            assert_eq!(site.get("/local").await.status.as_u16(), status);
        }
        assert_eq!(site.origin.calls(), 6);
    });
}

#[test]
fn no_client_is_told_to_come_again_before_a_limit_says_so() {
    keep(|| async {
        let (clock, hands) = Clock::manual();
        let limiter = Sinew::builder().clock(clock).embedded().unwrap().limiter();
        let limits = [
            Limit::gcra("burst", 7.per(3 * SECOND)).burst(20),
            Limit::gcra("slow", 3.per(HOUR)),
            Limit::fixed_window("window", 11.per(Duration::from_millis(1_500))),
            Limit::sliding_window("sliding", 13.per(7 * SECOND)),
            Limit::sliding_log("log", 5.per(Duration::from_micros(700_001))),
            Limit::fixed_window("huge", (1_u64 << 50).per(DAY)),
        ];
        let mut random = fastrand::Rng::with_seed(7);
        let (mut waits, mut nevers, mut alloweds) = (0, 0, 0);
        for _ in 0..4_000 {
            hands.advance(Duration::from_micros(random.u64(0..900_000)));
            let mut checks = Vec::new();
            for limit in &limits {
                if random.u8(0..3) > 0 {
                    checks.push(limit.of(random.u8(0..3)).cost(random.u64(1..7)));
                }
            }
            if checks.is_empty() {
                continue;
            }
            let decision = limiter.check(&checks).await.unwrap();
            if decision.is_allowed() {
                let headers = rate_limit_headers(&decision, &checks, HeaderStyle::Both);
                let members = members(&headers, "ratelimit");
                assert_eq!(members.len(), checks.len());
                for ((_, params), standing) in members.iter().zip(decision.limits()) {
                    let told = params.get("t").copied().unwrap_or(0);
                    let told = Duration::from_secs(told.try_into().unwrap());
                    assert!(told >= standing.reset_after && told < standing.reset_after + SECOND);
                }
                alloweds += 1;
                continue;
            }
            let response = too_many_requests(&decision, &checks, HeaderStyle::Both);
            let headers = response.headers();
            let wait = number(headers, "retry-after");
            let all = members(headers, "ratelimit");
            assert!(!all.is_empty() && !members(headers, "ratelimit-policy").is_empty());
            match (wait, decision.retry_after()) {
                (Some(told), Some(after)) => {
                    let said = Duration::from_secs(told.try_into().unwrap());
                    assert!(told >= 1 && said >= after && said <= after + SECOND);
                    let reset = number(headers, "x-ratelimit-reset");
                    assert_eq!(reset, Some(told), "of the longest wait");
                    for (name, params) in &all {
                        assert!(params.get("t").is_none_or(|t| *t <= told), "{name}: {params:?}");
                    }
                    waits += 1;
                }
                (None, None) => nevers += 1,
                (told, after) => panic!("{told:?} for {after:?}"),
            }
        }
        assert!(waits > 500 && nevers > 500 && alloweds > 50, "{waits} {nevers} {alloweds}");
    });
}
