use std::path::Path;

use sinew::limit::{DAY, Down, MINUTE, Per as _};
use sinew::{Compression, Format, Local};

use super::*;

fn read(text: &str) -> Result<Config, Vec<String>> {
    let mut layers = Layers::default();
    layers.add_text(Path::new("sinew.toml"), text);
    let faults = |faults: Vec<Fault>| faults.iter().map(ToString::to_string).collect();
    layers.settle().map_err(faults)
}

fn ttl_of(config: &Config, cache: &str) -> Duration {
    config.caches.of(cache).ttl.duration()
}

#[test]
fn a_whole_file_is_read() {
    let config = read(
        "store = \"redis://:secret@cache:7000/2\"\nlisten = \"127.0.0.1:9\"\nprefix = \"App_\"\n\
         tenancy = \"single\"\ndefault_ttl = \"10m\"\ndeadline = \"1s\"\nvalue_len_max = 2048\n\
         [caches.user]\nttl = \"30m\"\n[caches.\"token\"]\n",
    )
    .unwrap();
    assert_eq!(config.listen.port(), 9);
    assert_eq!(ttl_of(&config, "user"), Duration::from_secs(1800));
    for unnamed in ["token", "another"] {
        assert_eq!(ttl_of(&config, unnamed), Duration::from_secs(600));
    }
    assert!(!format!("{config:?}").contains("secret"));
}

#[test]
fn every_fault_is_told_with_its_line() {
    let faults = read(
        "stor = \"embedded\"\nlisten = \"here\"\nprefix = \"App\"\ntenancy = true\n\
         default_ttl = \"0s\"\nvalue_len_max = 0\n[caches.lock]\nttl = \"1h\"\n\
         [caches.user]\nttl = 5\ncolour = \"red\"\n",
    )
    .unwrap_err();
    let told = |line: usize, what: &str| {
        let at = format!("sinew.toml:{line}: ");
        assert!(
            faults.iter().any(|f| f.starts_with(&at) && f.contains(what) && f.contains("expected")
                || f.starts_with(&at) && f.contains("choose another")),
            "line {line} {what}: {faults:#?}"
        );
    };
    told(1, "unknown key \"stor\"");
    told(2, "invalid address");
    told(3, "invalid prefix");
    told(4, "tenancy");
    told(5, "1 ms to 10 years");
    told(6, "value_len_max");
    told(7, "lock");
    told(10, "in quotes");
    told(11, "unknown key \"colour\"");
    assert_eq!(faults.len(), 9, "{faults:#?}");
}

#[test]
fn what_is_not_toml_is_told_without_quoting_the_file() {
    let faults = read("store = \"redis://:hunter2@h\"\nlisten = = 1\n").unwrap_err();
    assert!(faults[0].starts_with("sinew.toml:2: not TOML"), "{faults:?}");
    assert!(!faults[0].contains("hunter2"));
    let faults = read("store = \"redis://:hunter2@h:port\"\n").unwrap_err();
    assert!(faults[0].starts_with("sinew.toml:1: "), "{faults:?}");
    assert!(!faults[0].contains("hunter2"), "{faults:?}");
}

#[test]
fn variables_go_over_the_file_and_flags_over_both() {
    let mut layers = Layers::default();
    layers.add_text(
        Path::new("f"),
        "prefix = \"File_\"\ndefault_ttl = \"1m\"\nlisten = \"127.0.0.1:1\"\n",
    );
    layers.add_variables(|name| match name {
        "SINEW_DEFAULT_TTL" => Some("2m".to_owned()),
        "SINEW_LISTEN" => Some("127.0.0.1:2".to_owned()),
        _ => None,
    });
    layers.add_flag("listen", Some(&"127.0.0.1:3".to_owned()));
    let config = layers.settle().unwrap();
    assert_eq!(config.prefix, "File_");
    assert_eq!(ttl_of(&config, "user"), Duration::from_secs(120));
    assert_eq!(config.listen.port(), 3);
}

const KEYRING: &str = "keyring = \"1:q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k=\"\n";

#[test]
fn a_cache_says_how_it_is_kept() {
    let config = read(&format!(
        "{KEYRING}[caches.user]\ntagged = true\nlocal = \"64MiB\"\nformat = \"json\"\n\
         compress = \"zstd\"\nencrypt = true\n\
         [caches.shared]\nformat = \"plain-json\"\ntagged = false\nencrypt = false\n"
    ))
    .unwrap();
    let user = config.caches.of("user");
    assert!(user.tagged && user.keyring.is_some());
    assert_eq!(user.local, Local::bytes(64 << 20));
    assert_eq!((user.format, user.compression), (Format::Json, Some(Compression::zstd())));
    let shared = config.caches.of("shared");
    assert!(!shared.tagged && shared.keyring.is_none());
    assert_eq!((shared.format, shared.local), (Format::PlainJson, Local::none()));
    assert!(!config.caches.of("another").tagged);
    assert_eq!(config.caches.names().collect::<Vec<_>>(), ["shared", "user"]);
    assert!(!format!("{config:?}").contains("q83v"));
}

#[test]
fn every_fault_of_a_cache_is_told_with_its_line() {
    let faults = read(
        "[caches.a]\ntagged = \"yes\"\nlocal = \"64MB\"\nformat = \"xml\"\ncompress = \"gzip\"\n\
         encrypt = 1\n[caches.b]\nlocal = 5\nencrypt = true\n[caches.c]\nformat = \"plain-json\"\n\
         tagged = true\n[caches.d]\nlocal = true\n",
    )
    .unwrap_err();
    for (line, told) in [
        (2, "invalid tagged: expected true or false"),
        (3, "invalid size \"64MB\": expected a size"),
        (4, "invalid format: expected \"json\" or \"plain-json\""),
        (5, "invalid compress: expected \"lz4\" or \"zstd\""),
        (6, "invalid encrypt: expected true or false"),
        (8, "a local level of 5 is out of bounds: expected 1KiB to 64GiB"),
        (9, "there is no key: expected keyring"),
        (11, "plain-json stores the JSON alone: expected no tagged, local"),
        (14, "invalid local: expected a size"),
    ] {
        let at = format!("sinew.toml:{line}: ");
        let found = faults.iter().any(|fault| fault.starts_with(&at) && fault.contains(told));
        assert!(found, "line {line} {told}: {faults:#?}");
    }
    assert_eq!(faults.len(), 9, "{faults:#?}");
}

#[test]
fn a_keyring_is_never_shown_and_its_variable_goes_over_the_file() {
    for bad in ["keyring = \"1:hunter2\"\n", "keyring = [\"1:hunter2\"]\n"] {
        let faults = read(&format!("{bad}[caches.user]\nencrypt = true\n")).unwrap_err();
        assert!(faults[0].starts_with("sinew.toml:1: "), "{faults:?}");
        assert!(faults.iter().all(|fault| !fault.contains("hunter2")), "{faults:?}");
    }
    let mut layers = Layers::default();
    layers.add_text(Path::new("f"), "keyring = \"1:hunter2\"\n[caches.user]\nencrypt = true\n");
    layers
        .add_variables(|name| (name == "SINEW_KEYRING").then(|| format!("7:{}", "ab".repeat(32))));
    let config = layers.settle().unwrap();
    assert!(config.caches.of("user").keyring.is_some());
    assert!(!format!("{config:?}").contains("abab"));
}

#[test]
fn a_file_defines_limits() {
    let config = read(
        "[limits.per-user]\nquota = 100\nper = \"1m\"\n\
         [limits.\"flood\"]\nalgorithm = \"sliding-window\"\nquota = 1_000\nper = \"24h\"\n\
         debt_max = 5\non_down = \"closed\"\nshadow = true\n\
         [limits.burst]\nalgorithm = \"gcra\"\nquota = 10\nper = \"1m 30s\"\nburst = 3\nlease = 2\n",
    )
    .unwrap();
    let burst = Limit::gcra("burst", 10.per(MINUTE * 3 / 2)).burst(3).lease(2);
    let flood = Limit::sliding_window("flood", 1_000.per(DAY)).debt_max(5).on_down(Down::Closed);
    let expected = [burst, flood.shadow(), Limit::gcra("per-user", 100.per(MINUTE))];
    assert_eq!(config.limits.values().cloned().collect::<Vec<_>>(), expected);
    assert_eq!(config.limits.keys().collect::<Vec<_>>(), ["burst", "flood", "per-user"]);
}

#[test]
fn every_fault_of_a_limit_is_told_with_its_line() {
    let faults = read(
        "[limits]\nf = 5\n[limits.a]\nalgorithm = \"token\"\nquota = \"many\"\nper = 60\nburst = -1\n\
         on_down = true\nshadow = \"no\"\n[limits.b]\nper = \"soon\"\ncolour = 1\n[limits.c]\n\
         algorithm = \"fixed-window\"\nquota = 1\nper = \"1m\"\nburst = 2\n[limits.d_e]\nquota = 1\n\
         per = \"1m\"\n",
    )
    .unwrap_err();
    for (line, told) in [
        (2, "limits.f: expected a table, like [limits.per-user]"),
        (4, "invalid algorithm \"token\": expected gcra, fixed-window"),
        (5, "invalid quota: expected a whole number"),
        (6, "invalid per: expected text in quotes"),
        (7, "invalid burst: expected a whole number"),
        (8, "invalid on_down: expected text in quotes"),
        (9, "invalid shadow: expected true or false"),
        (10, "limit \"b\" has no quota: expected quota = 100"),
        (11, "per: invalid duration \"soon\": expected a duration"),
        (12, "unknown key \"colour\" of limit \"b\": expected algorithm"),
        (17, "only GCRA has a burst"),
        (18, "expected 1 to 64 of"),
    ] {
        let at = format!("sinew.toml:{line}: ");
        let found = faults.iter().any(|fault| fault.starts_with(&at) && fault.contains(told));
        assert!(found, "line {line} {told}: {faults:#?}");
    }
    assert_eq!(faults.len(), 12, "{faults:#?}");
    let faults = read("limits = 5\n").unwrap_err();
    assert!(faults[0].contains("expected a table for each limit"), "{faults:?}");
}

#[test]
fn a_number_that_cannot_be_is_told_beside_other_faults_with_its_own_line() {
    let faults = read(
        "[limits.a]\nquota = 5\nper = \"1m\"\nlease = 50\nshadow = \"true\"\n\
         [limits.b]\nquota = 0\nper = \"9600h\"\nburst = 0\ndebt_max = 9_000_000_000_000_000\n\
         lease = 2_000_000\n[limits.c_]\nalgorithm = \"sliding-log\"\nquota = 2_000\nper = \"1m\"\n\
         colour = 1\n[limits.d]\nalgorithm = \"gcra\"\nburst = 2\nlease = 5\n\
         per = \"1m\"\nquota = 9\n",
    )
    .unwrap_err();
    for (line, told) in [
        (4, "a lease of 50 is out of bounds: expected at most 5"),
        (5, "invalid shadow"),
        (7, "a quota of 0 is out of bounds"),
        (8, "the period is out of bounds: expected 1 µs to 366 days"),
        (9, "a burst of 0 is out of bounds"),
        (10, "a debt of 9000000000000000 is out of bounds"),
        (11, "a lease of 2000000 is out of bounds"),
        (12, "expected 1 to 64 of"),
        (14, "a log of 2000 charges is too long"),
        (16, "unknown key \"colour\""),
        (20, "a lease of 5 is out of bounds: expected at most 2"),
    ] {
        let at = format!("sinew.toml:{line}: ");
        let found = faults.iter().any(|fault| fault.starts_with(&at) && fault.contains(told));
        assert!(found, "line {line} {told}: {faults:#?}");
    }
    assert_eq!(faults.len(), 11, "{faults:#?}");
    // A lease is not measured by a burst that no one could read.
    let faults = read("[limits.a]\nquota = 5\nper = \"1m\"\nburst = -1\nlease = 50\n").unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:#?}");
}

#[test]
fn an_address_that_envoys_service_would_take_from_the_hub_is_a_fault() {
    for (text, line) in [
        ("listen = \"127.0.0.1:8081\"\nrls_listen = \"127.0.0.1:8081\"\n", 2),
        ("rls_listen = \"127.0.0.1:8081\"\nlisten = \"0.0.0.0:8081\"\n", 1),
        ("rls_listen = \"127.0.0.1:7463\"\n", 1),
        ("listen = \"[::1]:8081\"\nrls_listen = \"[::]:8081\"\n", 2),
    ] {
        let faults = read(text).unwrap_err();
        let at = format!("sinew.toml:{line}: rls_listen ");
        assert!(faults[0].starts_with(&at) && faults[0].contains("expected another"), "{faults:?}");
        assert_eq!(faults.len(), 1, "{faults:?}");
    }
    for text in [
        "listen = \"127.0.0.1:0\"\nrls_listen = \"127.0.0.1:0\"\n",
        "listen = \"127.0.0.1:8081\"\nrls_listen = \"127.0.0.2:8081\"\n",
        "listen = \"127.0.0.1:8081\"\nrls_listen = \"127.0.0.1:8082\"\n",
    ] {
        assert!(read(text).is_ok(), "{text}");
    }
}

#[test]
fn faults_under_a_bad_name_are_told_with_it() {
    let faults = read("[caches.a_b]\nttl = \"never\"\n[limits.a_b]\nquota = -1\nper = \"1m\"\n")
        .unwrap_err();
    let lines: Vec<usize> = (1..=5)
        .filter(|line| {
            faults.iter().any(|fault| fault.starts_with(&format!("sinew.toml:{line}: ")))
        })
        .collect();
    assert_eq!((lines, faults.len()), (vec![1, 2, 3, 4], 4), "{faults:#?}");
}

const SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const PHC: &str = "$argon2id$v=19$m=64,t=1,p=1$c2VjcmV0c2FsdA$YmVmb3JldGhlZW5kb2ZhbGx0aW1lc2l0aXMx";

#[test]
fn tokens_and_users_say_who_may_do_what() {
    let config = read(&format!(
        "listen = \"0.0.0.0:7463\"\n[dashboard]\nidle = \"10m\"\n\
         [[tokens]]\nname = \"ci\"\nsha256 = \"{SHA256}\"\nscopes = [\"cache:read\", \"*\"]\n\
         expires_at = 2027-01-01T00:00:00Z\ntenant = \"acme\"\n\
         [[users]]\nname = \"ada@example.com\"\npassword = \"{PHC}\"\nrole = \"operator\"\n"
    ))
    .unwrap();
    let auth = &config.auth;
    assert!(auth.is_on() && config.exposed.is_empty());
    assert_eq!(auth.idle, Duration::from_secs(600));
    assert_eq!(auth.absolute, Duration::from_secs(12 * 3_600));
    assert_eq!(auth.tokens[0].expires_at.unwrap().to_string(), "2027-01-01T00:00:00Z");
    assert_eq!(auth.tokens[0].tenant.as_ref().unwrap().as_str(), "acme");
    assert_eq!((auth.tokens[0].scopes.len(), auth.users[0].role.name()), (2, "operator"));
    let shown = format!("{config:?}");
    assert!(!shown.contains("ba7816") && !shown.contains("argon2id"), "{shown}");
    let open = read("listen = \"0.0.0.0:7463\"\n").unwrap();
    assert!(!open.auth.is_on() && open.exposed.len() == 1);
}

#[test]
fn each_fault_of_who_may_do_what_is_told_with_its_line_and_no_secret() {
    let faults = read(
        "[[tokens]]\nname = \"snw_hunter2\"\nsha256 = \"snw_hunter2\"\nscopes = [\"snw_hunter2\"]\n\
         tenant = \"a_b\"\nexpires_at = \"tomorrow\"\ncolour = 1\n[[tokens]]\nscopes = []\n\
         [[users]]\nname = \"\"\npassword = \"hunter2\"\nrole = \"hunter2\"\n[[users]]\n\
         [dashboard]\nidle = \"0s\"\nabsolute = 5\ncolour = 1\n",
    )
    .unwrap_err();
    for (line, told) in [
        (2, "invalid name: expected 1 to 64"),
        (3, "invalid sha256: expected 64 hexadecimal digits"),
        (4, "invalid scopes[0]: expected one like"),
        (5, "invalid tenant"),
        (6, "invalid expires_at: expected a time with its offset"),
        (7, "unknown key \"colour\" of a token"),
        (8, "a token has no name: expected"),
        (8, "a token has no sha256: expected"),
        (9, "invalid scopes: expected at least one"),
        (11, "invalid name"),
        (12, "invalid password: expected what `sinew user hash` prints"),
        (13, "invalid role: expected viewer, operator or admin"),
        (14, "a user has no name: expected"),
        (14, "a user has no password: expected"),
        (14, "a user has no role: expected"),
        (16, "idle: 0s is out of bounds"),
        (17, "invalid absolute: expected a duration"),
        (18, "unknown key \"colour\" of dashboard"),
    ] {
        let at = format!("sinew.toml:{line}: ");
        let found = faults.iter().any(|fault| fault.starts_with(&at) && fault.contains(told));
        assert!(found, "line {line} {told}: {faults:#?}");
    }
    assert_eq!(faults.len(), 18, "{faults:#?}");
    assert!(faults.iter().all(|fault| !fault.contains("hunter2")), "{faults:#?}");
    for (text, told) in [
        ("tokens = 5\n", "tokens: expected a table for each"),
        ("users = [5]\n", "users: expected a table for each"),
        ("dashboard = true\n", "dashboard: expected a table"),
    ] {
        let faults = read(text).unwrap_err();
        assert!(faults.len() == 1 && faults[0].contains(told), "{faults:?}");
    }
}

#[test]
fn a_fault_of_a_token_or_a_user_names_them_and_stands_where_it_was_written() {
    let faults = read(&format!(
        "[[tokens]]\nscopes = [\n  \"cache:read\",\n  \"cache:wrte\",\n  7,\n]\nsha256 = \"{SHA256}\"\n\
         name = \"billing\"\n[[users]]\nname = \"ada\"\nrole = \"root\"\npassword = \"{PHC}\"\n"
    ))
    .unwrap_err();
    assert_eq!(faults.len(), 3, "{faults:#?}");
    for (fault, told) in faults.iter().zip([
        "sinew.toml:4: token \"billing\": invalid scopes[1]: expected one like \"cache:read\"",
        "sinew.toml:5: token \"billing\": invalid scopes[2]: expected one like",
        "sinew.toml:11: user \"ada\": invalid role: expected viewer",
    ]) {
        assert!(fault.starts_with(told), "{told}: {fault}");
    }
}

#[test]
fn a_secret_in_the_place_of_a_name_is_not_told_as_one() {
    for text in [
        "[[users]]\nname = \"hunter2horse\"\npassword = \"ada\"\nrole = \"root\"\n".to_owned(),
        "[[users]]\nname = \"hunter2horse\"\ncolour = 1\nrole = \"viewer\"\n".to_owned(),
        format!("[[tokens]]\nname = \"{SHA256}\"\nsha256 = \"billing\"\nscopes = [\"*\"]\n"),
        format!("[[tokens]]\nname = \"{SHA256}\"\nsha256 = \"{SHA256}\"\nscopes = [7]\n"),
    ] {
        let faults = read(&text).unwrap_err();
        assert_eq!(faults.len(), 2, "{faults:#?}");
        let is_told = |fault: &String| fault.contains("hunter2") || fault.contains("ba7816");
        assert!(!faults.iter().any(is_told), "{faults:#?}");
    }
}

#[test]
fn what_is_said_of_sign_ins_is_bounded_as_sessions_are_and_told_at_its_own_line() {
    for table in ["dashboard", "sessions"] {
        let faults = read(&format!("[{table}]\nabsolute = \"12h\"\nidle = \"13h\"\n")).unwrap_err();
        let expected = "sinew.toml:3: an idle time of 13h is out of bounds: expected at most 12h, as absolute is";
        assert_eq!(faults, [expected], "{table}");
    }
    let short = read("[dashboard]\nabsolute = \"10m\"\n").unwrap().auth;
    assert_eq!((short.idle, short.absolute), (Duration::from_secs(600), Duration::from_secs(600)));
}

#[test]
fn a_name_is_of_one_token_or_one_user_and_a_hash_of_one_token() {
    let token = |name: &str, rest: &str| {
        format!("[[tokens]]\nname = \"{name}\"\nscopes = [\"*\"]\nsha256 = \"{SHA256}\"\n{rest}")
    };
    let user = format!("[[users]]\nname = \"ci\"\nrole = \"admin\"\npassword = \"{PHC}\"\n");
    let faults = read(&format!("{}{}{user}", token("ci", ""), token("ci", ""))).unwrap_err();
    for (line, told) in [
        (5, "another one is called \"ci\""),
        (5, "another token has this sha256"),
        (9, "another one is called \"ci\""),
    ] {
        let at = format!("sinew.toml:{line}: ");
        let found = faults.iter().any(|fault| fault.starts_with(&at) && fault.contains(told));
        assert!(found, "line {line} {told}: {faults:#?}");
    }
    assert_eq!(faults.len(), 3, "{faults:#?}");
    let alone = token("ci", "tenant = \"acme\"\n");
    let faults = read(&format!("tenancy = \"single\"\n{alone}")).unwrap_err();
    assert!(faults[0].starts_with("sinew.toml:6: tenant: "), "{faults:?}");
    let expired = token("ci", "expires_at = \"2020-01-01T00:00:00Z\"\n");
    let config = read(&expired).unwrap();
    assert!(config.doubts[0].to_string().starts_with("sinew.toml:1: token \"ci\" has expired"));
}
