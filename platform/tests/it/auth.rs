//! Auth: what whoever signs in may count on, with two instances on one Redis and one database.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use serde_json::json;

use crate::databases::on_every_database;
use crate::fleet::{Client, Fleet, Instance, LONG, PASSWORD};
use crate::world::{redis_cli, signal, start_redis, start_redis_on};

const VALIDATE: &str = "/api/auth/validate-token";
/// What only somebody who is signed in gets to see.
const OF_SOMEBODY: [&str; 5] = [
    VALIDATE,
    "/api/users/me",
    "/api/users/me/preferences",
    "/api/users/me/sessions",
    "/api/generator/projects",
];

on_every_database! {
    async fn who_signs_in_at_one_instance_is_known_at_the_other(fleet: Fleet) {
        let (person, client) = fleet.client().await;
        for instance in [&fleet.first, &fleet.second] {
            let valid = instance.get(&client, VALIDATE).await;
            assert_eq!(valid.status, StatusCode::OK, "{}", valid.body);
            assert_eq!(valid.body["userId"], person.user_id.as_str());
            assert_eq!(valid.body["email"], person.email.as_str());
            assert_eq!(valid.headers["cache-control"], "no-store");
            for path in OF_SOMEBODY {
                assert_eq!(instance.get(&client, path).await.status, StatusCode::OK, "{path}");
            }
        }
    }

    async fn logged_out_at_one_instance_is_refused_at_the_other_at_once(fleet: Fleet) {
        let (person, client) = fleet.client().await;
        let other = fleet.second.sign_in(&person).await;
        // Read at both: what an instance has read of it must not count any more.
        for instance in [&fleet.first, &fleet.second] {
            assert_eq!(instance.get(&client, VALIDATE).await.status, StatusCode::OK);
        }
        let out = fleet.second.send(&client, Method::POST, "/api/auth/logout", None).await;
        assert_eq!(out.status, StatusCode::NO_CONTENT, "{}", out.body);
        for instance in [&fleet.first, &fleet.second] {
            for path in OF_SOMEBODY {
                let refused = instance.get(&client, path).await;
                assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{path} {}", refused.body);
                assert_eq!(refused.headers["www-authenticate"], "Bearer");
            }
        }
        let again = fleet.second.send(&client, Method::POST, "/api/auth/logout", None).await;
        assert_eq!(again.status, StatusCode::UNAUTHORIZED, "{}", again.body);
        assert_eq!(fleet.first.get(&other, VALIDATE).await.status, StatusCode::OK, "another one's");
    }

    async fn logged_out_everywhere_is_every_token_of_the_user_and_of_no_other(fleet: Fleet) {
        let (person, one) = fleet.client().await;
        let two = fleet.second.sign_in(&person).await;
        let (_, stranger) = fleet.client().await;
        let out = fleet.first.send(&one, Method::POST, "/api/auth/logout-all", None).await;
        assert_eq!(out.status, StatusCode::NO_CONTENT, "{}", out.body);
        for instance in [&fleet.first, &fleet.second] {
            for client in [&one, &two] {
                let refused = instance.get(client, VALIDATE).await;
                assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{}", refused.body);
            }
            assert_eq!(instance.get(&stranger, VALIDATE).await.status, StatusCode::OK);
        }
        let back = fleet.second.sign_in(&person).await;
        assert_eq!(fleet.first.get(&back, VALIDATE).await.status, StatusCode::OK);
    }

    async fn a_session_survives_the_restart_of_its_instance(fleet: Fleet) {
        let mut fleet = fleet;
        let (person, client) = fleet.client().await;
        fleet.restart_first().await;
        let valid = fleet.first.get(&client, VALIDATE).await;
        assert_eq!(valid.status, StatusCode::OK, "{}", valid.body);
        assert_eq!(valid.body["userId"], person.user_id.as_str());
    }

    async fn a_wrong_password_and_an_unknown_email_are_told_alike(fleet: Fleet) {
        let person = fleet.register().await;
        let client = Client::default();
        let wrong = fleet.first.log_in(&client, &person.email, "correct horsf").await;
        let unknown = fleet.first.log_in(&client, "nobody@example.com", PASSWORD).await;
        for refused in [&wrong, &unknown] {
            assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{}", refused.body);
            assert_eq!(refused.headers["content-type"], "application/problem+json");
        }
        assert_eq!(wrong.body, unknown.body);
        let upper = person.email.to_uppercase();
        let right = fleet.first.log_in(&client, &upper, PASSWORD).await;
        assert_eq!(right.status, StatusCode::OK, "{}", right.body);
    }

    async fn a_token_of_one_tenant_is_none_at_another(fleet: Fleet) {
        let (person, client) = fleet.client().await;
        let elsewhere = fleet.second.of_tenant("stranger");
        assert_eq!(elsewhere.get(&client, VALIDATE).await.status, StatusCode::UNAUTHORIZED);
        let refused = elsewhere.log_in(&Client::default(), &person.email, PASSWORD).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{}", refused.body);
        assert_eq!(fleet.second.get(&client, VALIDATE).await.status, StatusCode::OK);
    }

    async fn of_many_who_register_one_email_one_has_it(fleet: Fleet) {
        let email = format!("u{:x}@example.com", fastrand::u64(..));
        let body = json!({"email": email, "password": PASSWORD});
        let register = async |at: &Instance| {
            let path = "/api/auth/register";
            at.send(&Client::default(), Method::POST, path, Some(body.clone())).await.status
        };
        let (a, b, c) =
            tokio::join!(register(&fleet.first), register(&fleet.second), register(&fleet.first));
        let mut statuses = [a, b, c];
        statuses.sort_unstable();
        assert_eq!(statuses, [StatusCode::CREATED, StatusCode::CONFLICT, StatusCode::CONFLICT]);
    }

    async fn bad_input_is_told_what_was_expected(fleet: Fleet) {
        let long = "x".repeat(1_025);
        for (email, password, told) in [
            ("ada", PASSWORD, "ada@example.com"),
            ("", PASSWORD, "ada@example.com"),
            ("ada@example.com", "short", "8 characters or more"),
            ("ada@example.com", long.as_str(), "8 characters or more"),
        ] {
            let body = json!({"email": email, "password": password});
            let path = "/api/auth/register";
            let client = Client::default();
            let reply = fleet.first.send(&client, Method::POST, path, Some(body)).await;
            assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{}", reply.body);
            let detail = reply.body["detail"].as_str().unwrap();
            assert!(detail.contains(told) && !detail.contains(&long), "{detail}");
        }
        for token in ["", "x", "../..", "AAAAAAAAAAAAAAAAAAAAAA.AAAA"] {
            let client = Client { token: Some(token.to_owned()), ..Client::default() };
            let refused = fleet.first.get(&client, VALIDATE).await;
            assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{token}");
        }
    }

    async fn whoever_guesses_at_an_account_is_stopped_wherever_they_try(fleet: Fleet) {
        let (victim, other) = (fleet.register().await, fleet.register().await);
        let instances = [&fleet.first, &fleet.second];
        let mut stopped = None;
        for n in 0..40u8 {
            // From so many addresses that none of them tries often.
            let client = Client { address: n, ..Client::default() };
            let guess = format!("password {n}");
            let reply = instances[usize::from(n) % 2].log_in(&client, &victim.email, &guess).await;
            if reply.status == StatusCode::TOO_MANY_REQUESTS {
                stopped = Some((n, reply));
                break;
            }
            assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{}", reply.body);
        }
        let (n, reply) = stopped.expect("guessing is stopped");
        assert!(n >= 5, "{n} attempts are no guessing");
        let wait: u64 = reply.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
        fleet.first.sign_in(&other).await;
    }

    async fn guessing_from_elsewhere_locks_nobody_out_where_he_was_let_in(fleet: Fleet) {
        let victim = fleet.register().await;
        let home = Client { address: 200, ..Client::default() };
        fleet.first.sign_in_as(&victim, home.clone()).await;
        let guess = async |client: &Client| {
            let reply = fleet.second.log_in(client, &victim.email, "a wrong guess").await;
            if reply.status == StatusCode::UNAUTHORIZED {
                return false;
            }
            assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS, "{}", reply.body);
            assert!(reply.body["detail"].as_str().unwrap().contains("at this account"));
            true
        };
        let mut is_stopped = false;
        for address in 0..40 {
            is_stopped = is_stopped || guess(&Client { address, ..Client::default() }).await;
        }
        assert!(is_stopped, "guessing from elsewhere is stopped");
        let back = fleet.second.log_in(&home, &victim.email, PASSWORD).await;
        assert_eq!(back.status, StatusCode::OK, "{}", back.body);
        let mut is_stopped = false;
        for _ in 0..15 {
            is_stopped = is_stopped || guess(&home).await;
        }
        assert!(is_stopped, "guessing from there is stopped, too");
    }

    async fn an_address_that_tries_many_accounts_is_stopped(fleet: Fleet) {
        let mut stopped = false;
        for n in 0..200 {
            // What is refused before a password is looked at counts, too.
            let client = Client { address: 7, ..Client::default() };
            let instance = if n % 2 == 0 { &fleet.first } else { &fleet.second };
            let reply = instance.log_in(&client, "no address", PASSWORD).await;
            if reply.status == StatusCode::TOO_MANY_REQUESTS {
                assert!(n >= 20, "{n} attempts are not many");
                assert_eq!(reply.body["violated-policies"], json!(["sign-in-address"]));
                stopped = true;
                break;
            }
            assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{}", reply.body);
        }
        assert!(stopped, "trying is stopped");
        let elsewhere = Client { address: 8, ..Client::default() };
        let reply = fleet.first.log_in(&elsewhere, "no address", PASSWORD).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{}", reply.body);
    }

    async fn what_is_stored_in_redis_opens_nothing(fleet: Fleet) {
        let (person, client) = fleet.client().await;
        let token = client.token.clone().unwrap();
        let (_, secret) = token.split_once('.').unwrap();
        let (port, prefix) = (fleet.redis_port, fleet.prefix.clone());
        let all = tokio::task::spawn_blocking(move || {
            let keys = redis_cli(port, &["--scan", "--pattern", &format!("{prefix}*")]);
            let dump = |key: &str| match redis_cli(port, &["TYPE", key]).as_str() {
                "hash" => redis_cli(port, &["HGETALL", key]),
                "string" => redis_cli(port, &["GET", key]),
                "zset" => redis_cli(port, &["ZRANGE", key, "0", "-1"]),
                _ => String::new(),
            };
            let values: Vec<String> = keys.lines().map(dump).collect();
            format!("{keys}\n{}", values.join("\n"))
        })
        .await
        .unwrap();
        assert!(all.contains(&person.user_id), "the session is there: {all}");
        for secret in [secret, PASSWORD, "$argon2id$"] {
            assert!(!all.contains(secret), "{all}");
        }
    }
}

#[tokio::test]
async fn while_redis_does_not_answer_nobody_is_sent_away_and_the_token_is_good_afterwards() {
    let server = tokio::task::spawn_blocking(start_redis).await.unwrap();
    let fleet = Fleet::open_on("sqlite::memory:", server.port).await;
    let (_, client) = fleet.client().await;
    signal(server.pid, "STOP");
    for instance in [&fleet.first, &fleet.second] {
        let reply = instance.get(&client, VALIDATE).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{}", reply.body);
    }
    signal(server.pid, "CONT");
    for instance in [&fleet.first, &fleet.second] {
        let good = async {
            loop {
                let status = instance.get(&client, VALIDATE).await.status;
                assert_ne!(status, StatusCode::UNAUTHORIZED);
                if status == StatusCode::OK {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LONG, good).await.expect("it is good again");
    }
}

#[tokio::test]
async fn without_redis_no_route_that_needs_to_know_who_asks_says_that_it_is_nobody() {
    let mut server = tokio::task::spawn_blocking(start_redis).await.unwrap();
    let port = server.port;
    let fleet = Fleet::open_on("sqlite::memory:", port).await;
    let (person, client) = fleet.client().await;
    tokio::task::spawn_blocking(move || server.kill()).await.unwrap();
    for instance in [&fleet.first, &fleet.second] {
        for path in OF_SOMEBODY {
            let reply = instance.get(&client, path).await;
            assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{path} {}", reply.body);
            assert_eq!(reply.headers["content-type"], "application/problem+json");
        }
        let out = instance.send(&client, Method::POST, "/api/auth/logout", None).await;
        assert_eq!(out.status, StatusCode::SERVICE_UNAVAILABLE, "{}", out.body);
        let refused = instance.log_in(&Client::default(), &person.email, PASSWORD).await;
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.body);
        // Who shows no token is nobody, and no store has to say so.
        let nobody = instance.get(&Client::default(), VALIDATE).await;
        assert_eq!(nobody.status, StatusCode::UNAUTHORIZED, "{}", nobody.body);
    }

    // One that comes back empty knows nobody, and then that is the answer.
    let _server = tokio::task::spawn_blocking(move || start_redis_on(port, &[])).await.unwrap();
    let told = async {
        while fleet.first.get(&client, VALIDATE).await.status != StatusCode::UNAUTHORIZED {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, told).await.expect("it is told");
}
