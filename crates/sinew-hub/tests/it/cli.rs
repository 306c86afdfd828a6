//! The command line: what it says, and its exit codes.

use std::io::Write as _;

use crate::hub::{BINARY, Hub, exit_code, sinew, text};
use crate::world::{SECRET, free_port, redis_cli, refusals, signal, start_redis};

#[test]
fn help_shows_examples_and_exit_codes() {
    for arguments in
        [&["--help"][..], &["serve", "--help"], &["demo", "--help"], &["cache", "put", "--help"]]
    {
        let output = sinew(arguments);
        assert_eq!(exit_code(&output), 0);
        assert!(text(&output.stdout).contains("Example"), "{arguments:?}");
    }
    assert!(text(&sinew(&["--help"]).stdout).contains("Exit codes"));
    assert_eq!(exit_code(&sinew(&[])), 2);
}

#[test]
fn bad_input_ends_with_2_and_says_what_was_expected() {
    let long = "k".repeat(1100);
    let redis = format!("redis://127.0.0.1:{}", free_port());
    for arguments in [
        &["serve", "--store", "localhost:port"][..],
        &["serve", "--store", "embeded"],
        &["serve", "--store", "redis://:hunter2@localhost:port"],
        &["serve", "--listen", "localhost"],
        &["serve", "--listen", "0.0.0.0:0"],
        &["serve", "--prefix", "no-underscore"],
        &["serve", "--tenancy", "double"],
        &["serve", "--config", "/nowhere/sinew.toml"],
        &["demo", "--platform-listen", "0.0.0.0:0"],
        &["cache", "put", "greeting", "en", "not json"],
        &["cache", "put", "greeting", "en", "1", "--ttl", "soon"],
        &["cache", "put", "greeting", "en", "1", "--ttl", "0s"],
        &["cache", "get", "greeting", "en", "--tenant", "a_b"],
        &["cache", "get", "greeting", "en", "--tenant", "a_b", "--store", &redis],
        &["cache", "get", "lock", "en", "--store", &redis],
        &["cache", "frobnicate"],
        &["cache", "get", "..", "en"],
        &["cache", "put", "greeting", "", "1"],
        &["cache", "delete", "greeting", ".."],
        &[
            "cache",
            "get",
            "greeting",
            "en",
            "--tenant",
            "acme",
            "--tenancy",
            "single",
            "--store",
            &redis,
        ],
        &["cache", "stats", "greeting", "--store", &redis],
        &["cache", "get", "greeting", "en", "--store", &redis, "--listen", "127.0.0.1:1"],
        &["cache", "get", "greeting", "en", "--prefix", "App_"],
        &["cache", "delete", "greeting", "en", "--tenancy", "multi"],
        &[
            "cache", "clear", "greeting", "--all", "--yes", "--store", "embedded", "--prefix",
            "App_",
        ],
        &["cache", "put", "greeting", "en", "1", "--version", "18446744073709551615"],
        &["demo", "--tenancy", "single"],
        &["demo", "--database", "mysql://u:hunter2@h/d"],
    ] {
        let output = sinew(arguments);
        let errors = text(&output.stderr);
        assert_eq!(exit_code(&output), 2, "{arguments:?}: {errors}");
        assert!(errors.starts_with("error: "), "{arguments:?}: {errors}");
        let messages = errors.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!(messages, 1, "{arguments:?}: {errors}");
        assert!(!errors.contains("hunter2"), "{errors}");
        assert!(output.stdout.is_empty());
        let tells = ["expected", "choose another", "--help"];
        assert!(tells.iter().any(|t| errors.contains(t)), "{arguments:?}: {errors}");
    }
    let server = start_redis();
    let store = format!("redis://127.0.0.1:{}", server.port);
    for arguments in [&["get"][..], &["delete"], &["put"]] {
        let value: &[&str] = if arguments == ["put"] { &["1"] } else { &[] };
        let all =
            [&["cache"], arguments, &["greeting", &long], value, &["--store", &store]].concat();
        let output = sinew(&all);
        assert_eq!(exit_code(&output), 2, "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("expected at most 1024"));
    }
    // The deployment's record, and nothing else.
    assert_eq!(redis_cli(server.port, &["DBSIZE"]), "1");
}

#[test]
fn what_does_not_work_ends_with_1_and_names_the_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = sinew(&["serve", "--listen", &address]);
    assert_eq!(exit_code(&output), 1);
    assert!(text(&output.stderr).contains("choose another address with --listen"));

    let nowhere = format!("127.0.0.1:{}", free_port());
    let output = sinew(&["cache", "get", "greeting", "en", "--listen", &nowhere]);
    assert_eq!(exit_code(&output), 1);
    assert!(text(&output.stderr).contains("sinew serve"), "{}", text(&output.stderr));

    let store = format!("redis://:hunter2@{nowhere}");
    for command in [&["cache", "get", "greeting", "en"][..], &["demo"]] {
        let output = sinew(&[command, &["--store", &store]].concat());
        assert_eq!(exit_code(&output), 1);
        let errors = text(&output.stderr);
        assert!(errors.contains("cannot reach Redis") && !errors.contains("hunter2"), "{errors}");
    }
}

#[test]
fn config_check_explains_every_fault_with_its_line() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(
        file,
        "store = \"embedded\"\nlisten = \"nowhere\"\ncolour = 1\n[caches.user]\nttl = \"never\""
    )
    .unwrap();
    let path = file.path().to_str().unwrap();
    let output = sinew(&["config", "check", "--config", path]);
    assert_eq!(exit_code(&output), 2);
    let errors = text(&output.stderr);
    for (line, what) in
        [(2, "invalid address"), (3, "unknown key \"colour\""), (5, "invalid duration")]
    {
        let begins = format!("error: {path}:{line}: {what}");
        assert!(errors.lines().any(|l| l.starts_with(&begins)), "{begins} in {errors}");
    }
    assert_eq!(errors.lines().count(), 3, "{errors}");
    let output = sinew(&["config", "check"]);
    assert_eq!(exit_code(&output), 0);
    assert!(text(&output.stdout).contains("are valid; no file was named"));
}

#[test]
fn an_address_by_name_is_refused_with_what_was_expected() {
    let expected = "expected an IP address and port like 127.0.0.1:7463";
    for command in [&["serve"][..], &["demo"], &["cache", "stats", "user"], &["config", "check"]] {
        let output = sinew(&[command, &["--listen", "localhost:17801"]].concat());
        let errors = text(&output.stderr);
        assert_eq!(exit_code(&output), 2, "{command:?}: {errors}");
        assert!(errors.contains(expected), "{command:?}: {errors}");
    }
    for flag in ["--platform-listen", "--gateway-listen"] {
        let errors = text(&sinew(&["demo", flag, "localhost:17801"]).stderr);
        assert!(errors.contains(expected) && errors.contains(flag), "{errors}");
    }
}

#[test]
fn config_check_tells_what_serve_would_refuse() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let rule = "[[rls]]\ndomain = \"edge\"\ndescriptor = [{ key = \"ip\" }]\nlimit = \"a\"";
    let limit = "[limits.a]\nquota = 1\nper = \"1m\"";
    writeln!(file, "listen = \"0.0.0.0:7463\"\n{limit}\n{rule}").unwrap();
    let path = file.path().to_str().unwrap();
    let check = |flags: &[&str]| {
        let output = sinew(&[&["config", "check", "--config", path], flags].concat());
        (exit_code(&output), text(&output.stderr))
    };
    let (code, told) = check(&["--rls-listen", "0.0.0.0:8081"]);
    assert_eq!(code, 0, "{told}");
    for begins in [
        format!("warning: {path}:1: listen 0.0.0.0:7463 can be reached by others"),
        "warning: --rls-listen: rls_listen 0.0.0.0:8081 can be reached by others".to_owned(),
    ] {
        let warned = |line: &str| line.starts_with(&begins) && line.contains("--insecure");
        assert!(told.lines().any(warned), "{begins} in {told}");
    }
    assert_eq!(told.lines().count(), 2, "{told}");
    let (code, told) = check(&["--rls-listen", "0.0.0.0:7463"]);
    assert_eq!(code, 2, "{told}");
    assert!(told.starts_with("error: --rls-listen: ") && told.contains("expected another port"));
    let (code, told) = check(&["--rls-listen", "127.0.0.1:8081", "--listen", "127.0.0.1:7463"]);
    assert_eq!((code, told.as_str()), (0, ""));
}

#[test]
fn a_flag_that_would_have_no_effect_is_refused_by_its_name() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let redis = format!("redis://127.0.0.1:{}", free_port());
    writeln!(file, "store = \"{redis}\"\nprefix = \"App_\"\nlisten = \"127.0.0.1:1\"").unwrap();
    let path = file.path().to_str().unwrap();
    let get = ["cache", "get", "greeting", "en", "--config", path];
    for (flags, told) in [
        (&["--listen", "127.0.0.1:1"][..], &*format!("--listen: names a hub, and {path} says")),
        (&["--listen", "127.0.0.1:1", "--store", &redis][..], "--listen: names a hub, and --store"),
        (&["--store", "embedded", "--prefix", "App_"][..], "--prefix: a hub is asked"),
        (&["--store", "embedded", "--tenancy", "multi"][..], "--tenancy: a hub is asked"),
    ] {
        let output = sinew(&[&get[..], flags].concat());
        assert_eq!(exit_code(&output), 2);
        let errors = text(&output.stderr);
        assert!(errors.starts_with(&format!("error: {told}")), "{errors}");
    }
    let mut by_variable = std::process::Command::new(BINARY);
    by_variable.args(["cache", "get", "greeting", "en", "--listen", "127.0.0.1:1"]);
    let errors = text(&by_variable.env("SINEW_STORE", &redis).output().unwrap().stderr);
    assert!(errors.contains("SINEW_STORE says that the store is Redis"), "{errors}");
    // What the file says for a hub is no one's slip: these get as far as asking.
    let asks_a_hub = ["--store", "embedded", "--listen", "127.0.0.1:1"];
    for flags in [&asks_a_hub[..0], &asks_a_hub[..2], &asks_a_hub[..]] {
        assert_eq!(exit_code(&sinew(&[&get[..], flags].concat())), 1, "{flags:?}");
    }
}

/// The same commands on Redis itself and through a hub.
fn entries_come_and_go(place: &[&str]) {
    let run = |arguments: &[&str]| sinew(&[&["cache"], arguments, place].concat());
    let entry = ["greeting", "en:short"];
    assert_eq!(exit_code(&run(&[&["get"], &entry[..]].concat())), 3);
    let put = run(&[
        &["put"],
        &entry[..],
        &[r#"{"text": "hello", "n": 12345678901234567890}"#, "--ttl", "10m"],
    ]
    .concat());
    assert_eq!(exit_code(&put), 0, "{}", text(&put.stderr));
    let got = run(&[&["get"], &entry[..]].concat());
    assert_eq!(
        text(&got.stdout),
        "{\"text\": \"hello\", \"n\": 12345678901234567890}\n",
        "kept to the byte"
    );
    let others = run(&[&["get"], &entry[..], &["--tenant", "acme"]].concat());
    assert_eq!(exit_code(&others), 3, "another tenant's entry is another");
    assert_eq!(exit_code(&run(&[&["delete"], &entry[..]].concat())), 0);
    assert_eq!(exit_code(&run(&[&["get"], &entry[..]].concat())), 3);
    assert_eq!(
        exit_code(&run(&[&["delete"], &entry[..]].concat())),
        0,
        "deleting twice is no error"
    );
}

#[test]
fn cache_commands_work_on_redis_itself() {
    let server = start_redis();
    let store = format!("redis://127.0.0.1:{}", server.port);
    entries_come_and_go(&["--store", &store, "--prefix", "App_"]);
    sinew(&[
        "cache", "put", "user", "7:name", "1", "--store", &store, "--prefix", "App_", "--tenant",
        "acme",
    ]);
    let left: i64 = redis_cli(server.port, &["PTTL", "App_acme:user:7:name"]).parse().unwrap();
    assert!((1..=300_000).contains(&left), "{left}");
}

#[test]
fn cache_commands_work_through_a_hub_with_an_embedded_store() {
    let hub = Hub::serve(&[]);
    let address = hub.url.trim_start_matches("http://");
    entries_come_and_go(&["--listen", address]);
    let stats = sinew(&["cache", "stats", "greeting", "--listen", address]);
    assert!(text(&stats.stdout).contains("hits local    1"), "{}", text(&stats.stdout));
    let json = sinew(&["cache", "stats", "greeting", "--json", "--listen", address]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["hitsLocal"], 1);
    let unknown = sinew(&["cache", "stats", "unknown", "--listen", address]);
    assert_eq!(exit_code(&unknown), 2);
}

/// The same list as the library's.
#[test]
fn each_redis_that_will_not_do_ends_a_command_with_1_and_its_own_error() {
    for refusal in refusals() {
        let began = std::time::Instant::now();
        let output = sinew(&["cache", "get", "greeting", "en", "--store", &refusal.url]);
        let (took, errors) = (began.elapsed(), text(&output.stderr));
        println!("{:<26} {:>5} ms  {}", refusal.what, took.as_millis(), errors.trim());
        assert_eq!(exit_code(&output), 1, "{}: {errors}", refusal.what);
        assert!(errors.starts_with("error: "), "{}: {errors}", refusal.what);
        for part in &refusal.says {
            assert!(errors.contains(part), "{}: {part:?} is not in: {errors}", refusal.what);
        }
        assert!(!errors.contains(SECRET), "{}: {errors}", refusal.what);
        assert!(output.stdout.is_empty());
        assert!(took < std::time::Duration::from_secs(2), "{}: {took:?}", refusal.what);
    }
}

#[test]
fn a_breaker_is_shown_isolated_and_reset() {
    let redis = start_redis();
    let (url, node) =
        (format!("redis://127.0.0.1:{}", redis.port), format!("127.0.0.1:{}", redis.port));
    let hub = Hub::serve(&["--store", &url]);
    let listen = hub.url.trim_start_matches("http://").to_owned();
    let breaker = |words: &[&str]| {
        let output = sinew(&[&["redis", "breaker"], words, &["--listen", &listen]].concat());
        (exit_code(&output), format!("{}{}", text(&output.stdout), text(&output.stderr)))
    };
    let state = || breaker(&[]).1.lines().nth(1).unwrap_or_default().to_owned();
    crate::world::wait_until("it is there", || state() == format!("{node}  closed"));
    assert_eq!(breaker(&["isolate", &node]).0, 0);
    assert_eq!(state(), format!("{node}  isolated"));
    let entry = ["cache", "put", "greeting", "en", "1", "--listen", &listen];
    let refused = sinew(&entry);
    assert_eq!(exit_code(&refused), 1);
    // Whether there is an entry no one knows.
    let look = sinew(&["cache", "get", "greeting", "en", "--listen", &listen]);
    assert_eq!(exit_code(&look), 1);
    assert!(text(&look.stderr).contains("isolated"), "{}", text(&look.stderr));
    assert_eq!(
        breaker(&["reset", &node, "--json"]).1.trim(),
        format!("{{\"node\":\"{node}\",\"state\":\"closed\"}}")
    );
    assert_eq!(exit_code(&sinew(&entry)), 0);
    let (code, unknown) = breaker(&["reset", "elsewhere:1"]);
    assert_eq!(code, 2, "{unknown}");
    assert!(unknown.contains("expected one of") && unknown.contains(&node), "{unknown}");
    // It opens by itself, and closes.
    signal(redis.pid, "STOP");
    crate::world::wait_until("it opens", || {
        let _ = sinew(&entry);
        !state().ends_with("closed")
    });
    signal(redis.pid, "CONT");
    crate::world::wait_until("it closes", || state().ends_with("closed"));
}

#[test]
fn a_command_ends_quietly_where_no_one_reads_on() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = std::process::Command::new(BINARY);
    let output = command
        .args(["token", "new", "--scope", "cache:read", "billing"])
        .stdout(writer)
        .output()
        .expect("it ran");
    assert_eq!(output.status.code(), Some(141), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}
