//! The whole program: the demonstration, as the README offers it.

use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::auth_api::made;
use crate::hub::{Hub, blocking, text};
use crate::world::{redis_cli, signal, start_redis, start_redis_on, wait_until};

fn paste(line: &str) -> String {
    let output = Command::new("sh").arg("-c").arg(format!("{line} -sS")).output().expect("sh");
    assert!(output.status.success(), "{line}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// The first three printed lines, pasted into a shell, each twice.
fn walk_the_curl_lines(hub: &Hub) {
    let lines = hub.curl_lines();
    let [read, write, entry, ..] = lines.as_slice() else { panic!("three lines: {lines:?}") };
    let first = paste(read);
    assert!(first.starts_with("HTTP/1.1 200"), "{first}");
    let second = paste(read);
    assert!(second.to_lowercase().contains("x-cache: hit"), "{second}");
    for _ in 0..2 {
        let written = paste(write);
        assert!(written.starts_with("HTTP/1.1 201"), "{written}");
    }
    for _ in 0..2 {
        let entry = paste(entry);
        assert!(entry.starts_with("HTTP/1.1 200"), "{entry}");
        assert_eq!(entry.lines().last(), second.lines().last(), "the hub shows the same entry");
    }
}

/// The line that has jobs made, pasted into a shell.
fn have_jobs_made(hub: &Hub) {
    let log = hub.server.log();
    let fire = log.lines().find(|line| line.contains(" job recurring fire ")).expect("a line");
    let output = Command::new("sh").arg("-c").arg(fire).output().expect("sh");
    assert!(output.status.success(), "{}", text(&output.stderr));
}

async fn a_put_makes_the_next_read_fresh(hub: &Hub) {
    let path = "/api/properties/3";
    let get = || hub.platform(Method::GET, path, "tenant123", None);
    get().await;
    let cached = get().await;
    assert_eq!(cached.cache.as_deref(), Some("hit"));
    let mut change = cached.body.clone();
    change["monthlyRentCents"] = json!(123_456);
    let put = hub.platform(Method::PUT, path, "tenant123", Some(change.clone())).await;
    assert_eq!(put.status, StatusCode::OK, "{}", put.text);
    let fresh = get().await;
    assert_eq!(
        (fresh.cache.as_deref(), &fresh.body["monthlyRentCents"]),
        (Some("miss"), &json!(123_456))
    );
    let lost = hub.platform(Method::PUT, path, "tenant123", Some(change)).await;
    assert_eq!(lost.status, StatusCode::CONFLICT, "that version was changed");
    let stranger = hub.platform(Method::GET, path, "acme", None).await;
    assert_eq!(stranger.status, StatusCode::NOT_FOUND, "another tenant's property");
}

#[tokio::test]
async fn the_demonstration_works_as_it_says_on_the_embedded_store() {
    let hub = blocking(|| Hub::demo(&["--traffic", "0"])).await;
    let hub = blocking(move || {
        walk_the_curl_lines(&hub);
        have_jobs_made(&hub);
        hub
    })
    .await;
    a_put_makes_the_next_read_fresh(&hub).await;
}

#[tokio::test]
async fn the_demonstration_works_as_it_says_on_redis() {
    let server = blocking(start_redis).await;
    let store = format!("redis://127.0.0.1:{}", server.port);
    let hub = {
        let store = store.clone();
        blocking(move || Hub::demo(&["--traffic", "0", "--store", &store])).await
    };
    let hub = blocking(move || {
        walk_the_curl_lines(&hub);
        hub
    })
    .await;
    a_put_makes_the_next_read_fresh(&hub).await;
    hub.platform(Method::GET, "/api/properties/3", "tenant123", None).await;

    let key = "RentTracker_tenant123:property:3";
    assert!(redis_cli(server.port, &["GET", key]).contains("\"monthlyRentCents\":123456"));
    let left: i64 = redis_cli(server.port, &["TTL", key]).parse().unwrap();
    assert!((1..=600).contains(&left), "{left}");
    let keys = redis_cli(server.port, &["--scan"]);
    assert!(keys.lines().all(|k| k.starts_with("RentTracker_")), "{keys}");
    assert!(!keys.contains("RentTracker_acme:property:3"), "{keys}");

    // The database was in memory, and Redis still holds what was read from it.
    drop(hub);
    let again = blocking(move || Hub::demo(&["--traffic", "0", "--store", &store])).await;
    let fresh = again.platform(Method::GET, "/api/properties/3", "tenant123", None).await;
    assert_eq!((fresh.cache.as_deref(), &fresh.body["rowVersion"]), (Some("miss"), &json!(1)));
}

#[tokio::test]
async fn who_signs_in_to_the_demonstration_gets_another_model_once_the_flag_is_on() {
    let hub = blocking(|| Hub::demo(&["--traffic", "0"])).await;
    blocking(move || {
        let log = hub.server.log();
        let line = |with: &str| {
            let line = log.lines().map(str::trim).find(|line| line.contains(with));
            line.unwrap_or_else(|| panic!("{with}: {log}")).to_owned()
        };
        let of = |path: &str| {
            let lines = hub.curl_lines();
            lines.into_iter().find(|line| line.ends_with(path)).expect(path)
        };
        let (me, make) = (of("/api/users/me"), of("/api/generator/projects"));
        // Pasted as it is, where no `sinew` is in the PATH.
        let flip = line(" flag set advanced-ai-models ");
        let all = format!("{}; {me}; {make}; {flip}; {make}", line("token=$("));
        let output = Command::new("sh").arg("-c").arg(all).output().expect("sh");
        let (told, errors) = (text(&output.stdout), text(&output.stderr));
        assert!(told.contains("\"userId\":\"ada\""), "{told} {errors}");
        let models = told.match_indices("\"model\":\"local-").map(|(at, _)| &told[at..at + 22]);
        let expected = ["\"model\":\"local-simple\"", "\"model\":\"local-advance"];
        assert_eq!(models.collect::<Vec<_>>(), expected, "{told} {errors}");
    })
    .await;
}

#[tokio::test]
async fn a_demonstration_that_asks_who_one_is_says_so_in_its_lines() {
    blocking(|| {
        let (token, table) = made(&["me", "--scope", "*"]);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "{table}").unwrap();
        let hub = Hub::demo(&["--traffic", "0", "--config", file.path().to_str().unwrap()]);
        let log = hub.server.log();
        let line = |with: &str| {
            let line = log.lines().map(str::trim).find(|line| line.contains(with));
            line.unwrap_or_else(|| panic!("{with}: {log}")).to_owned()
        };
        let export = line("export SINEW_TOKEN=");
        let (entry, flip) =
            (line("/v1/cache/property/entries/"), line(" flag set advanced-ai-models "));
        paste(&line("X-Tenant-Id: tenant123' http"));
        for (known, status) in [("snw_nobody", "HTTP/1.1 401"), (token.as_str(), "HTTP/1.1 200")] {
            let all = format!("{}; {entry} -sS && {flip}", export.replace("snw_…", known));
            let output = Command::new("sh").arg("-c").arg(all).output().expect("sh");
            let (told, errors) = (text(&output.stdout), text(&output.stderr));
            assert!(told.starts_with(status), "{told} {errors}");
            assert_eq!(output.status.success(), known == token, "{told} {errors}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_line_that_hears_of_orders_shows_one_that_is_placed() {
    let hub = blocking(|| Hub::demo(&["--traffic", "0"])).await;
    let order = json!({"orderId": "a-1", "userId": "ada", "units": 7});
    let path = "/api/billing/orders";
    let placed = hub.platform(Method::POST, path, "tenant123", Some(order)).await;
    assert_eq!(placed.status, StatusCode::ACCEPTED, "{}", placed.text);
    blocking(move || {
        let lines = hub.curl_lines();
        let tail = lines.iter().find(|line| line.contains("/v1/streams/orders/tail")).expect("it");
        // It would go on for ever.
        let all = format!("{tail} -sS | sed '/^data:/q'");
        let output = Command::new("sh").arg("-c").arg(all).output().expect("sh");
        let (told, errors) = (text(&output.stdout), text(&output.stderr));
        assert!(told.contains("\"orderId\":\"a-1\""), "{told} {errors}");
        assert!(told.contains("\"tenant\":\"tenant123\""), "{told} {errors}");
    })
    .await;
}

#[tokio::test]
async fn the_gateway_of_the_demonstration_limits_who_is_not_signed_in() {
    let arguments = ["--traffic", "0", "--gateway-listen", "127.0.0.1:0"];
    let hub = blocking(move || Hub::demo(&arguments)).await;
    let log = hub.server.log();
    let (_, rest) = log.split_once("Gateway    ").expect("it says where");
    let (url, _) = rest.split_once('\n').expect("a whole line");
    let mut statuses = Vec::new();
    for _ in 0..30 {
        let reply = hub.send(Method::GET, url, Some("tenant123"), None).await;
        statuses.push(reply.status);
    }
    assert_eq!(statuses[..10], [StatusCode::OK; 10]);
    assert!(statuses.contains(&StatusCode::TOO_MANY_REQUESTS), "{statuses:?}");

    // Whatever one says of oneself, it is the same limit.
    for claim in
        [("x-user-id", "7"), ("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=203.0.113.9")]
    {
        let headers = [("x-tenant-id", "tenant123"), claim];
        let reply = hub.send_with(Method::GET, url, &headers, None).await;
        let told = reply.headers["ratelimit"].to_str().unwrap();
        assert!(told.contains("\"anonymous\";r=0"), "{claim:?}: {told}");
    }

    let listed = hub.get("/limits").await.text;
    for limit in ["anonymous", "flood"] {
        assert!(listed.contains(&format!("id=\"limit-{limit}\"")), "{limit}: {listed}");
    }
}

#[tokio::test]
async fn the_lines_that_show_the_gateway_show_what_they_say() {
    let arguments = ["--traffic", "0", "--gateway-listen", "127.0.0.1:0"];
    let hub = blocking(move || Hub::demo(&arguments)).await;
    blocking(move || {
        let log = hub.server.log();
        let dozen = log.lines().map(str::trim).find(|line| line.starts_with("for "));
        let dozen = Command::new("sh").arg("-c").arg(dozen.expect("a loop")).output().expect("sh");
        let statuses = text(&dozen.stdout);
        assert_eq!(statuses.lines().count(), 12, "{statuses}{}", text(&dozen.stderr));
        assert!(statuses.starts_with(&"200\n".repeat(10)), "{statuses}");
        assert!(statuses.contains("429"), "{statuses}");

        let lines = hub.curl_lines();
        let spoofed = lines.iter().find(|line| line.contains("X-Forwarded-For")).expect("a claim");
        let told = paste(spoofed);
        assert!(told.contains("\"anonymous\";r="), "{told}");
        assert!(!told.contains("per-user"), "{told}");
    })
    .await;
}

#[tokio::test]
async fn the_demonstration_warns_of_what_it_does_not_serve() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "rls_listen = \"127.0.0.1:0\"").unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let hub = blocking(move || Hub::demo(&["--traffic", "0", "--config", &path])).await;
    let log = hub.server.log();
    let warned = |line: &str| line.contains("WARN") && line.contains("does not serve Envoy");
    assert!(log.lines().any(warned), "{log}");
}

#[tokio::test]
async fn ctrl_c_stops_the_demonstration_cleanly() {
    let hub = blocking(|| Hub::demo(&["--traffic", "50"])).await;
    tokio::time::timeout(Duration::from_secs(30), async {
        while hub
            .metric("sinew_cache_requests_total{cache=\"property\",result=\"hit_local\"}")
            .await
            < 5
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("its own traffic hits");
    signal(hub.server.pid, "INT");
    let hub = blocking(move || {
        wait_until("it says so", || hub.server.log().contains("Stopped."));
        hub
    })
    .await;
    assert!(!hub.server.log().contains("panicked"), "{}", hub.server.log());
    assert!(!hub.server.log().contains("ERROR"), "{}", hub.server.log());
}

/// A thousand sockets on our side alone.
fn raise_the_limit_of_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(8_192, |most| most.min(8_192));
    if limit.current.is_some_and(|now| now < wanted) {
        let limit = Rlimit { current: Some(wanted), maximum: limit.maximum };
        setrlimit(Resource::Nofile, limit).expect("a higher limit");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_for_one_cold_property_over_two_processes_run_one_query() {
    raise_the_limit_of_open_files();
    let server = blocking(start_redis).await;
    let folder = tempfile::tempdir().unwrap();
    let store = format!("redis://127.0.0.1:{}", server.port);
    let database = format!("sqlite://{}/rent.db?mode=rwc", folder.path().display());
    let start = move || {
        let arguments = ["--traffic", "0", "--store", &store, "--database", &database];
        std::thread::scope(|threads| {
            let [a, b] = [(); 2].map(|()| threads.spawn(|| Hub::demo(&arguments)));
            [a.join().unwrap(), b.join().unwrap()]
        })
    };
    let hubs = Arc::new(blocking(start).await);
    let queries = async || {
        let mut sum = 0;
        for hub in hubs.iter() {
            sum += hub.metric("platform_database_queries_total{query=\"property\"}").await;
        }
        sum
    };
    for round in 1..=3u64 {
        let before = queries().await;
        let path = format!("/api/properties/{}", 10 + round);
        let requests: Vec<_> = (0..1_000)
            .map(|n| {
                let (hubs, path) = (Arc::clone(&hubs), path.clone());
                tokio::spawn(async move {
                    let reply = hubs[n % 2].platform(Method::GET, &path, "tenant123", None).await;
                    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
                    reply.body
                })
            })
            .collect();
        let mut bodies: Vec<Value> = Vec::new();
        for request in requests {
            bodies.push(request.await.expect("a reply"));
        }
        assert!(bodies.iter().all(|b| *b == bodies[0]));
        assert_eq!(queries().await - before, 1, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_redis_under_load_fails_no_request_and_hits_come_back() {
    let mut server = blocking(start_redis).await;
    let port = server.port;
    let store = format!("redis://127.0.0.1:{port}");
    let hub = Arc::new(blocking(move || Hub::demo(&["--traffic", "0", "--store", &store])).await);
    let running = Arc::new(AtomicBool::new(true));
    let done = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..8usize)
        .map(|n| {
            let (hub, running, done) = (Arc::clone(&hub), Arc::clone(&running), Arc::clone(&done));
            tokio::spawn(async move {
                let mut slowest = Duration::ZERO;
                let mut number = n;
                while running.load(Ordering::Relaxed) {
                    number += 7;
                    let path = format!("/api/properties/{}", 1 + number % 24);
                    let began = Instant::now();
                    let reply = hub.platform(Method::GET, &path, "tenant123", None).await;
                    slowest = slowest.max(began.elapsed());
                    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
                    if number % 40 == 0 {
                        let put =
                            hub.platform(Method::PUT, &path, "tenant123", Some(reply.body)).await;
                        assert!(
                            [StatusCode::OK, StatusCode::CONFLICT].contains(&put.status),
                            "{}",
                            put.text
                        );
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
                slowest
            })
        })
        .collect();
    let more = async |n: usize| {
        let goal = done.load(Ordering::Relaxed) + n;
        while done.load(Ordering::Relaxed) < goal {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let all = async {
        more(200).await;
        let server = blocking(move || {
            server.kill();
            server
        })
        .await;
        more(200).await;
        assert_eq!(hub.get("/health/ready").await.body["status"], "degraded");
        drop(server);
        let server = blocking(move || start_redis_on(port, &[])).await;
        let path = "/api/properties/24";
        while hub.platform(Method::GET, path, "tenant123", None).await.cache.as_deref()
            != Some("hit")
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        more(200).await;
        server
    };
    let _server =
        tokio::time::timeout(Duration::from_secs(120), all).await.expect("hits come back");
    running.store(false, Ordering::Relaxed);
    println!("{} requests", done.load(Ordering::Relaxed));
    for caller in callers {
        let slowest = caller.await.expect("no request failed");
        println!("slowest of a caller: {slowest:?}");
        // The look-up's deadline and the lease's, and a busy machine.
        assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    }
}
