//! `sinew session …`: the sessions of a user as people look at them, and end them.

use std::process::Output;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::hub::{Hub, exit_code, sinew, text};
use crate::world::{Server, free_port, redis_cli, start_redis, wait_until};

/// A Redis, a hub on it at which users log in, and commands at both.
struct Fleet {
    server: Server,
    store: String,
    hub: Hub,
    runtime: Runtime,
}

impl Fleet {
    fn start() -> Self {
        let server = start_redis();
        let store = format!("redis://127.0.0.1:{}", server.port);
        let hub = Hub::serve(&["--store", &store]);
        let fleet = Self { server, store, hub, runtime: Runtime::new().unwrap() };
        let ready = || exit_code(&session(&["list", "ada"], &fleet.places()[1])) == 0;
        wait_until("the hub is ready", ready);
        fleet
    }

    fn places(&self) -> [[&str; 2]; 2] {
        let listen = self.hub.url.trim_start_matches("http://");
        [["--store", &self.store], ["--listen", listen]]
    }

    /// The token and the id of a session that begins.
    fn begin(&self, user: &str, tenant: Option<&str>) -> (String, String) {
        let url = format!("{}/v1/sessions", self.hub.url);
        let device = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
        let body = json!({ "user": user, "device": device, "address": "203.0.113.9" });
        let body = Some(body.to_string());
        let reply = self.runtime.block_on(self.hub.send(Method::POST, &url, tenant, body));
        assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text);
        let said = |name: &str| reply.body[name].as_str().unwrap().to_owned();
        (said("token"), said("id"))
    }

    fn count(&self, user: &str, tenant: &str) -> usize {
        let url = format!("{}/v1/users/{user}/sessions", self.hub.url);
        let list = self.hub.send(Method::GET, &url, Some(tenant), None);
        self.runtime.block_on(list).body.as_array().map(Vec::len).expect("a list")
    }

    fn is_live(&self, token: &str) -> bool {
        let url = format!("{}/v1/sessions/self", self.hub.url);
        let headers = [("x-session-token", token)];
        let look = self.hub.send_with(Method::GET, &url, &headers, None);
        let reply = self.runtime.block_on(look);
        assert!([200, 401].contains(&reply.status.as_u16()), "{}", reply.text);
        reply.status == StatusCode::OK
    }
}

fn session(words: &[&str], place: &[&str]) -> Output {
    sinew(&[&["session"], words, place].concat())
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)))
}

#[test]
fn the_sessions_of_a_user_are_listed_without_what_opens_them() {
    let fleet = Fleet::start();
    let (first, id) = fleet.begin("ada", None);
    let (second, other) = fleet.begin("ada", None);
    fleet.begin("bob", None);
    let (_, tenants) = fleet.begin("ada", Some("acme"));
    for place in fleet.places() {
        let listed = session(&["list", "ada"], &place);
        let told = text(&listed.stdout);
        assert_eq!(exit_code(&listed), 0, "{}", text(&listed.stderr));
        assert!(told.starts_with("FROM ") && told.lines().count() == 3, "{told}");
        assert!(told.contains(&id) && told.contains(&other), "{told}");
        assert!(told.contains("203.0.113.9 Moz"), "{told}");
        assert!(told.lines().all(|line| line.chars().count() <= 80), "{told}");
        let listed = session(&["list", "ada", "--json"], &place);
        let told = text(&listed.stdout);
        for token in [&first, &second] {
            assert!(!told.contains(token.split_once('.').unwrap().1), "{told}");
        }
        let listed = json_of(&listed);
        assert_eq!(listed.as_array().unwrap().len(), 2);
        assert!(listed[0]["device"].as_str().unwrap().ends_with("Firefox/140.0"), "all of it");
        let listed = session(&["list", "ada", "--tenant", "acme", "--json"], &place);
        assert_eq!(json_of(&listed)[0]["id"], tenants.as_str());
        let none = session(&["list", "eve"], &place);
        let told = text(&none.stdout);
        assert_eq!((exit_code(&none), told.lines().count()), (0, 1), "{told}");
        assert!(told.starts_with("No session of user \"eve\" of no tenant in "), "{told}");
        assert_eq!(json_of(&session(&["list", "eve", "--json"], &place)), json!([]));
    }
}

#[test]
fn one_session_is_ended_at_once_and_many_after_a_second_thought() {
    let fleet = Fleet::start();
    for (place, user) in fleet.places().into_iter().zip(["by-store", "by/hub"]) {
        let command = |words: &[&str]| session(&[&["revoke", user], words].concat(), &place);
        let [(first, id), (second, other), (third, kept)] = [0; 3].map(|_| fleet.begin(user, None));
        let ended = command(&[&id]);
        let told = text(&ended.stdout);
        assert_eq!(exit_code(&ended), 0, "{}", text(&ended.stderr));
        let begins = format!("Ended session {id} of user {user:?} of no tenant in ");
        assert!(told.starts_with(&begins), "{told}");
        assert!(!fleet.is_live(&first) && fleet.is_live(&second));
        let again = command(&[&id]);
        let errors = text(&again.stderr);
        assert_eq!((exit_code(&again), again.stdout.len()), (3, 0), "{errors}");
        assert!(errors.starts_with(&format!("error: no session {id} of user ")), "{errors}");

        for many in [&["--all"][..], &["--all-but", &kept]] {
            let asks = command(many);
            let errors = text(&asks.stderr);
            assert_eq!(exit_code(&asks), 2, "{errors}");
            assert!(errors.contains("expected --yes") && errors.contains("127.0.0.1"), "{errors}");
            let count = if many == ["--all"] { "2 sessions" } else { "1 session" };
            assert!(errors.contains(&format!(", {count} now?")), "{errors}");
        }
        let would = command(&["--all-but", &kept, "--dry-run", "--json"]);
        assert_eq!(json_of(&would), json!({ "wouldRevoke": [other] }));
        let would = text(&command(&["--all", "--dry-run"]).stdout);
        assert!(would.starts_with("Would end every session of user "), "{would}");
        assert!(would.ends_with(": 2 sessions now.\n"), "{would}");
        assert!(fleet.is_live(&second) && fleet.is_live(&third), "nothing has ended yet");

        let ended = command(&["--all-but", &kept, "--yes", "--json"]);
        assert_eq!(json_of(&ended), json!({ "revoked": 1 }));
        assert!(!fleet.is_live(&second) && fleet.is_live(&third));
        let (fourth, _) = fleet.begin(user, None);
        let ended = text(&command(&["--all", "--yes"]).stdout);
        assert!(ended.starts_with("Ended every session of user "), "{ended}");
        assert!(ended.ends_with(": 2 sessions.\n"), "{ended}");
        assert!(!fleet.is_live(&third) && !fleet.is_live(&fourth));
    }
}

#[test]
fn many_sessions_end_also_where_they_cannot_be_listed() {
    let fleet = Fleet::start();
    let may = |list: &str| {
        let set = redis_cli(fleet.server.port, &["ACL", "SETUSER", "default", list]);
        assert_eq!(set, "OK");
    };
    for place in fleet.places() {
        for many in [&["--all"][..], &["--all", "--json"]] {
            let (token, _) = fleet.begin("ada", None);
            may("-zrevrange");
            let command =
                |words: &[&str]| session(&[&["revoke", "ada"], many, words].concat(), &place);
            let asks = text(&command(&[]).stderr);
            assert!(asks.contains(", nobody knows how many now?"), "{asks}");
            assert!(fleet.is_live(&token), "nothing has ended yet");
            let ended = command(&["--yes"]);
            may("+zrevrange");
            assert_eq!(exit_code(&ended), 0, "{}", text(&ended.stderr));
            assert!(!fleet.is_live(&token));
            if many == ["--all"] {
                let told = text(&ended.stdout);
                assert!(told.starts_with("Ended every session of user "), "{told}");
                assert!(!told.contains(": 1 session"), "{told}");
            } else {
                assert_eq!(json_of(&ended), json!({ "revoked": null }));
            }
        }
    }
}

#[test]
fn who_has_no_session_is_told_so_and_not_that_it_was_ended() {
    let fleet = Fleet::start();
    let (_, id) = fleet.begin("ada", Some("acme"));
    let id = id.as_str();
    for place in fleet.places() {
        for (words, told) in [
            (&["--all", "--yes"][..], "no session of user \"ada\" of no tenant in "),
            (&["--all", "--yes", "--json"], "no session of user \"ada\" of no tenant in "),
            (&["--all", "--dry-run"], "no session of user \"ada\" of no tenant in "),
            (&["--all-but", id, "--yes"], "no session but "),
            (&[id], "no session "),
            (&[id, "--dry-run"], "no session "),
        ] {
            let output = session(&[&["revoke", "ada"], words].concat(), &place);
            let errors = text(&output.stderr);
            assert_eq!((exit_code(&output), output.stdout.len()), (3, 0), "{words:?}: {errors}");
            assert!(errors.starts_with(&format!("error: {told}")), "{words:?}: {errors}");
        }
    }
    assert_eq!(fleet.count("ada", "acme"), 1, "a tenant's user is another");
}

#[test]
fn a_tenants_user_is_another_than_one_of_no_tenant() {
    let fleet = Fleet::start();
    for place in fleet.places() {
        let (token, id) = fleet.begin("ada", None);
        let command = |words: &[&str]| {
            session(&[&["revoke", "ada", "--tenant", "acme"], words].concat(), &place)
        };
        assert_eq!(exit_code(&command(&[&id])), 3);
        assert_eq!(exit_code(&command(&["--all", "--yes"])), 3);
        assert!(fleet.is_live(&token));
    }
}

#[test]
fn bad_input_for_sessions_ends_with_2_and_tells_no_token() {
    let fleet = Fleet::start();
    let (token, id) = fleet.begin("ada", None);
    for place in fleet.places() {
        for (words, told) in [
            (&["revoke", "ada"][..], "--all"),
            (&["revoke", "ada", &id, "--all"], "cannot be used with"),
            (&["revoke", "ada", "--all", "--all-but", &id], "cannot be used with"),
            (&["revoke", "ada", "--all", "--dry-run", "--yes"], "cannot be used with"),
            (&["revoke", "ada", &token], "no id of a session: expected"),
            (&["revoke", "ada", "--all-but", &token, "--yes"], "no id of a session: expected"),
            (&["list", "ada", "--tenant", "a_b"], "expected 1 to 64 of"),
        ] {
            let output = session(words, &place);
            let errors = text(&output.stderr);
            assert_eq!(exit_code(&output), 2, "{words:?}: {errors}");
            assert!(errors.contains(told), "{words:?}: {errors}");
            assert!(!errors.contains(&token), "{words:?}: {errors}");
        }
    }
    assert!(fleet.is_live(&token));
}

#[test]
fn without_redis_or_a_hub_a_command_for_sessions_ends_with_1() {
    let port = free_port();
    let (store, listen) = (format!("redis://127.0.0.1:{port}"), format!("127.0.0.1:{port}"));
    for place in [["--store", store.as_str()], ["--listen", listen.as_str()]] {
        for words in [&["list", "ada"][..], &["revoke", "ada", "--all", "--yes"]] {
            let output = session(words, &place);
            assert_eq!(exit_code(&output), 1, "{}", text(&output.stderr));
        }
    }
}
