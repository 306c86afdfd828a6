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
