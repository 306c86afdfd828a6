//! Limits that are defined in the store: shared by all processes and tenants, changed while they run.

use std::time::{Duration, Instant, SystemTime};

use futures_util::future::join_all;
use sinew::limit::{DAY, Down, Expected, Limit, LimitDefinitions, MINUTE, Per};
use sinew::{ErrorKind, Sinew};

use crate::laws::{eventually, keep};
use crate::outage::{blocking, down, process_at};
use crate::world::{SHARED_REDIS, Store, free_port, redis_cli, start_redis};

fn calls(quota: u64) -> Limit {
    Limit::gcra("calls", quota.per(DAY))
}

async fn revision(definitions: &LimitDefinitions, name: &str) -> Option<u64> {
    definitions.get(name).await.unwrap().map(|defined| defined.revision)
}

/// Waits until a process knows a limit so, or not at all.
async fn knows(definitions: &LimitDefinitions, name: &str, limit: Option<&Limit>) {
    eventually("the other process knows it", || async {
        let known = definitions.get(name).await.unwrap();
        known.as_ref().map(|defined| &defined.limit) == limit
    })
    .await;
}

laws! {
    async fn what_is_defined_is_known_to_all_processes_and_tenants(store: Store) {
        let one = store.process().await.limit_definitions();
        let other = store.tenant("acme").await.limit_definitions();
        assert!(other.all().await.unwrap().is_empty());
        let limits = [
            Limit::gcra("gcra", 100.per(MINUTE)).burst(20).debt_max(5).lease(3).on_down(Down::Open),
            Limit::fixed_window("fixed", 100.per(DAY)).on_down(Down::Closed),
            Limit::sliding_window("sliding", 100.per(30 * MINUTE)).shadow(),
            Limit::sliding_log("log", 100.per(Duration::from_micros(1))).on_down(Down::Local),
        ];
        for limit in &limits {
            let defined = one.define(limit, Expected::Any, "ada").await.unwrap();
            assert_eq!(defined.before, None);
            // At once in the process that makes the change.
            assert_eq!(one.get(limit.name()).await.unwrap().unwrap().limit, *limit);
            assert_eq!(revision(&one, limit.name()).await, Some(defined.revision));
        }
        for limit in &limits {
            knows(&other, limit.name(), Some(limit)).await;
        }
        let names: Vec<String> = other.all().await.unwrap().into_keys().collect();
        assert_eq!(names, ["fixed", "gcra", "log", "sliding"]);
        assert_eq!(other.get("another").await.unwrap(), None);
        let removed = one.remove("fixed", Expected::Any, "ada").await.unwrap();
        assert_eq!(removed.as_ref(), Some(&limits[1]));
        assert_eq!(one.get("fixed").await.unwrap(), None);
        knows(&other, "fixed", None).await;
        assert_eq!(one.remove("fixed", Expected::Any, "ada").await.unwrap(), None);
    }

    async fn a_change_by_one_process_decides_in_the_other(store: Store) {
        let (one, other) = (store.tenant("acme").await, store.tenant("acme").await);
        let definitions = one.limit_definitions();
        definitions.define(&calls(100), Expected::Any, "ada").await.unwrap();
        let charged = one.limiter().check([calls(100).of("bob").cost(60)]).await.unwrap();
        assert!(charged.is_allowed());
        let (theirs, limiter) = (other.limit_definitions(), other.limiter());
        knows(&theirs, "calls", Some(&calls(100))).await;
        definitions.define(&calls(50), Expected::Any, "ada").await.unwrap();
        eventually("the lowered limit denies", || async {
            let limit = theirs.get("calls").await.unwrap().unwrap().limit;
            !limiter.peek([limit.of("bob")]).await.unwrap().is_allowed()
        })
        .await;
    }

    async fn a_definition_that_someone_else_has_changed_is_not_overwritten(store: Store) {
        let definitions = store.process().await.limit_definitions();
        let conflicts = async |limit: &Limit, expected: Expected, told: &str| {
            let error = definitions.define(limit, expected, "eve").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error:#}");
            assert!(error.to_string().contains(told), "{error}");
            assert!(definitions.remove("calls", expected, "eve").await.is_err());
        };
        conflicts(&calls(1), Expected::Revision(1), "not defined in the store: expected revision 1")
            .await;
        let first = definitions.define(&calls(1), Expected::Absent, "ada").await.unwrap().revision;
        conflicts(&calls(2), Expected::Absent, "expected none").await;
        let second = definitions.define(&calls(3), Expected::Revision(first), "bob").await.unwrap();
        assert!(second.revision > first);
        assert_eq!(second.before, Some(calls(1)));
        let told = format!("as revision {}: expected revision {first}", second.revision);
        conflicts(&calls(4), Expected::Revision(first), &told).await;
        let found = definitions.get("calls").await.unwrap().unwrap();
        assert_eq!((found.limit, found.revision), (calls(3), second.revision));

        // What was removed and defined again is not what it was, even if it looks the same.
        let last = Expected::Revision(second.revision);
        assert_eq!(definitions.remove("calls", last, "ada").await.unwrap(), Some(calls(3)));
        let again = definitions.define(&calls(3), Expected::Absent, "ada").await.unwrap();
        assert!(again.revision > second.revision);
        conflicts(&calls(5), last, "expected revision").await;
        let by: Vec<String> =
            definitions.changes(10).await.unwrap().into_iter().map(|change| change.by).collect();
        assert_eq!(by, ["ada", "ada", "bob", "ada"], "who was refused has changed nothing");
    }

    async fn of_those_who_change_a_revision_at_the_same_time_one_does(store: Store) {
        let mut processes = Vec::new();
        for _ in 0..4 {
            processes.push(store.process().await.limit_definitions());
        }
        let begin = processes[0].define(&calls(1_000), Expected::Any, "ada").await.unwrap();
        let expected = Expected::Revision(begin.revision);
        let edits = (0..40).map(|edit| {
            let definitions = processes[edit % 4].clone();
            tokio::spawn(async move {
                let limit = calls(1 + edit as u64);
                definitions.define(&limit, expected, &edit.to_string()).await.map(|_| limit)
            })
        });
        let edits = join_all(edits).await.into_iter().map(Result::unwrap);
        let (made, refused): (Vec<_>, Vec<_>) = edits.partition(Result::is_ok);
        assert_eq!((made.len(), refused.len()), (1, 39));
        for error in refused.into_iter().filter_map(Result::err) {
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error:#}");
        }
        let changes = processes[0].changes(10).await.unwrap();
        assert_eq!(changes.len(), 2);
        assert_eq!(changes[0].after.as_ref(), made[0].as_ref().ok());
    }

    async fn a_limit_is_the_same_value_for_as_long_as_its_definition_is(store: Store) {
        let definitions = store.process().await.limit_definitions();
        definitions.define(&calls(1), Expected::Any, "ada").await.unwrap();
        let first = definitions.get("calls").await.unwrap().unwrap().limit;
        // It has to look again after that.
        let other = Limit::gcra("other", 1.per(DAY));
        definitions.define(&other, Expected::Any, "ada").await.unwrap();
        assert!(definitions.get("other").await.unwrap().is_some());
        let second = definitions.get("calls").await.unwrap().unwrap().limit;
        assert_eq!(first.name().as_ptr(), second.name().as_ptr(), "the same, not only equal");
    }

    async fn who_has_changed_what_is_told_from_the_newest_on(store: Store) {
        let definitions = store.process().await.limit_definitions();
        assert!(definitions.changes(10).await.unwrap().is_empty());
        // The clock of the store and ours may differ by something.
        let around = Duration::from_secs(60);
        let began = SystemTime::now() - around;
        definitions.define(&calls(1), Expected::Any, "ada \"the\" first\n").await.unwrap();
        definitions.define(&calls(2).shadow(), Expected::Any, "bob").await.unwrap();
        definitions.remove("calls", Expected::Any, "éve").await.unwrap();
        let changes = definitions.changes(10).await.unwrap();
        let told: Vec<_> = changes.iter().map(|it| (&*it.by, &it.before, &it.after)).collect();
        let (one, two) = (Some(calls(1)), Some(calls(2).shadow()));
        let expected = [
            ("éve", &two, &None),
            ("bob", &one, &two),
            ("ada \"the\" first\n", &None, &one),
        ];
        assert_eq!(told, expected);
        for change in &changes {
            assert_eq!(change.name, "calls");
            assert!((began..SystemTime::now() + around).contains(&change.at), "{:?}", change.at);
        }
        assert!(changes.is_sorted_by(|newer, older| newer.at >= older.at));
        assert_eq!(definitions.changes(1).await.unwrap(), changes[..1]);
        assert!(definitions.changes(0).await.unwrap().is_empty());
    }

    async fn a_thousand_limits_are_defined_and_a_thousand_changes_kept(store: Store) {
        let definitions = store.process().await.limit_definitions();
        let limit = |number: u64| Limit::gcra(format!("limit-{number}"), 1.per(DAY));
        for number in 0..1_000 {
            definitions.define(&limit(number), Expected::Any, "ada").await.unwrap();
        }
        let error = definitions.define(&limit(1_000), Expected::Any, "ada").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rejected, "{error:#}");
        assert!(error.to_string().contains("expected one to be removed"), "{error}");
        // What is there can be changed, and makes room when it is removed.
        let changed = limit(7).shadow();
        definitions.define(&changed, Expected::Any, "bob").await.unwrap();
        assert!(definitions.remove("limit-0", Expected::Any, "bob").await.unwrap().is_some());
        definitions.define(&limit(1_000), Expected::Any, "bob").await.unwrap();
        assert_eq!(definitions.all().await.unwrap().len(), 1_000);
        let changes = definitions.changes(usize::MAX).await.unwrap();
        assert_eq!(changes.len(), 1_000);
        assert_eq!(changes[0].name, "limit-1000");
        assert_eq!(changes[999].name, "limit-3", "the oldest are forgotten");
    }

    async fn what_cannot_be_is_not_defined(store: Store) {
        let definitions = store.process().await.limit_definitions();
        for bad in [Limit::gcra("a b", 1.per(DAY)), calls(0), calls(1).lease(2)] {
            let error = definitions.define(&bad, Expected::Any, "ada").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Rejected, "{error:#}");
        }
        let long = "a".repeat(257);
        let error = definitions.define(&calls(1), Expected::Any, &long).await.unwrap_err();
        assert!(error.to_string().contains("expected at most 256"), "{error}");
        let error = definitions.remove(":revision", Expected::Any, "ada").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rejected, "{error:#}");
        assert!(definitions.all().await.unwrap().is_empty());
        assert!(definitions.changes(10).await.unwrap().is_empty());
    }
}

/// The two keys of a deployment.
fn keys(prefix: &str) -> (String, String) {
    let definitions = format!("{prefix}_:rate-limit:definitions");
    let changes = format!("{prefix}_:rate-limit:changes:{{{definitions}}}");
    (definitions, changes)
}

#[test]
fn garbage_among_the_definitions_is_left_out_and_replaced() {
    keep(|| async {
        let store = Store::redis().await;
        let definitions = store.process().await.limit_definitions();
        definitions.define(&calls(1), Expected::Any, "ada").await.unwrap();
        let (key, changes) = keys(&store.prefix);
        let port = SHARED_REDIS.port;
        for (field, value) in [
            ("bad", "garbage"),
            ("worse", "7 {\"algorithm\":\"guess\",\"quota\":1,\"per_us\":1,\"on_down\":\"open\"}"),
            ("a b", "7 {}"),
            (":revision", "many"),
        ] {
            redis_cli(port, &["HSET", &key, field, value]);
        }
        redis_cli(port, &["LPUSH", &changes, "garbage"]);
        let all = store.process().await.limit_definitions().all().await.unwrap();
        assert_eq!(all.keys().collect::<Vec<_>>(), ["calls"]);

        let bad = Limit::fixed_window("bad", 5.per(DAY));
        let defined = definitions.define(&bad, Expected::Absent, "ada").await.unwrap();
        assert_eq!(defined.before, None);
        assert_eq!(definitions.get("bad").await.unwrap().unwrap().limit, bad);
        let found = definitions.get("calls").await.unwrap().unwrap();
        let changed =
            definitions.define(&calls(2), Expected::Revision(found.revision), "ada").await;
        assert!(changed.unwrap().revision > found.revision);
        assert_eq!(definitions.changes(10).await.unwrap().len(), 3);
    });
}

#[test]
fn keys_of_another_type_are_told_and_not_replaced() {
    keep(|| async {
        let port = SHARED_REDIS.port;
        let store = Store::redis().await;
        let definitions = store.process().await.limit_definitions();
        let (key, changes) = keys(&store.prefix);
        redis_cli(port, &["SET", &key, "mine"]);
        let kind = |error: sinew::Error| error.kind();
        let refused = definitions.define(&calls(1), Expected::Any, "ada").await;
        assert_eq!(refused.map_err(kind), Err(ErrorKind::Corrupt));
        assert_eq!(definitions.all().await.map_err(kind), Err(ErrorKind::Corrupt));
        assert_eq!(redis_cli(port, &["GET", &key]), "mine");

        // A change that cannot be noted is not made.
        redis_cli(port, &["DEL", &key]);
        redis_cli(port, &["SET", &changes, "mine"]);
        let refused = definitions.define(&calls(1), Expected::Any, "ada").await;
        assert_eq!(refused.map_err(kind), Err(ErrorKind::Corrupt));
        assert_eq!(definitions.changes(1).await.map_err(kind), Err(ErrorKind::Corrupt));
        assert_eq!(redis_cli(port, &["EXISTS", &key]), "0");
    });
}

#[test]
fn definitions_have_no_expiry_and_are_none_of_a_tenants_keys() {
    keep(|| async {
        let store = Store::redis().await;
        let acme = store.tenant("acme").await;
        acme.limit_definitions().define(&calls(1), Expected::Any, "ada").await.unwrap();
        let pattern = format!("{}*rate-limit*", store.prefix);
        let found = redis_cli(SHARED_REDIS.port, &["--scan", "--pattern", &pattern]);
        let mut found: Vec<&str> = found.lines().collect();
        found.sort_unstable();
        let (definitions, changes) = keys(&store.prefix);
        assert_eq!(found, [&changes, &definitions]);
        for key in found {
            assert_eq!(redis_cli(SHARED_REDIS.port, &["PTTL", key]), "-1", "{key}");
        }
    });
}

#[test]
fn without_redis_the_last_that_was_known_counts() {
    keep(|| async {
        let mut server = blocking(start_redis).await;
        let sinew = process_at(server.port).await;
        let definitions = sinew.limit_definitions();
        definitions.define(&calls(1), Expected::Any, "ada").await.unwrap();
        let known = definitions.get("calls").await.unwrap().unwrap();
        let server = blocking(move || {
            server.kill();
            server.wait_gone();
            server
        })
        .await;
        down(&sinew).await;
        // For longer than what is known is looked up anew.
        let began = Instant::now();
        eventually("more than a second without Redis", || async {
            assert_eq!(definitions.get("calls").await.unwrap(), Some(known.clone()));
            assert_eq!(definitions.get("other").await.unwrap(), None);
            began.elapsed() > Duration::from_millis(2_500)
        })
        .await;
        for error in [
            definitions.define(&calls(2), Expected::Any, "ada").await.unwrap_err(),
            definitions.remove("calls", Expected::Any, "ada").await.unwrap_err(),
            definitions.changes(1).await.unwrap_err(),
        ] {
            assert!(error.is_retryable(), "{error:#}");
        }
        assert_eq!(definitions.get("calls").await.unwrap(), Some(known));
        drop(server);

        let stranger = Sinew::connect_lazy(&format!("redis://127.0.0.1:{}", free_port())).unwrap();
        let definitions = stranger.limit_definitions();
        for error in [
            definitions.get("calls").await.unwrap_err(),
            definitions.get("calls").await.unwrap_err(),
            definitions.all().await.unwrap_err(),
        ] {
            assert!(error.is_retryable(), "{error:#}");
        }
    });
}

#[test]
fn however_many_ask_the_store_is_asked_once_a_second() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let sinew = process_at(server.port).await;
        let definitions = sinew.limit_definitions();
        definitions.define(&calls(1), Expected::Any, "ada").await.unwrap();
        let began = Instant::now();
        let asked = (0..1_000).map(|_| {
            let definitions = definitions.clone();
            tokio::spawn(async move { definitions.get("calls").await.unwrap().is_some() })
        });
        let asked = join_all(asked).await;
        assert!(asked.into_iter().all(|found| found.unwrap()));
        let info = redis_cli(server.port, &["INFO", "commandstats"]);
        let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_hgetall:calls="));
        let looks: u64 = line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0);
        assert!((1..=1 + began.elapsed().as_secs()).contains(&looks), "{looks}");
    });
}
