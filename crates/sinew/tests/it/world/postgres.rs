//! PostgreSQL, for what keeps its rows there.

use std::path::PathBuf;
use std::process::Command;

use super::{Server, find, free_port, run, temporary_folder, wait_until};

/// A PostgreSQL cluster made for one test run, and thrown away with it.
pub fn start_postgres() -> Server {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let bins: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    let folder = temporary_folder("postgres");
    let data = folder.join("data").to_string_lossy().into_owned();
    // PostgreSQL refuses to run as root. setpriv becomes the program, so that its pid is the server's.
    let as_user: Vec<String> = match run("id", &["-u"]).trim() {
        "0" => {
            run("chown", &["postgres", &folder.to_string_lossy()]);
            ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
                .map(str::to_owned)
                .to_vec()
        }
        _ => vec![find("env", &[])],
    };
    let port = free_port();
    let initdb = [
        find("initdb", &bins),
        "-D".into(),
        data.clone(),
        "-U".into(),
        "postgres".into(),
        "-A".into(),
        "trust".into(),
        "--no-sync".into(),
    ];
    let init: Vec<&str> = as_user.iter().chain(&initdb).map(String::as_str).collect();
    run(init[0], &init[1..]);
    let mut command = as_user.clone();
    command.extend([find("postgres", &bins), "-D".into(), data, "-p".into(), port.to_string()]);
    for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"] {
        command.extend(["-c".to_owned(), setting.to_owned()]);
    }
    // Its own immediate shutdown also frees its shared memory.
    let server = Server::start(&command, port, &folder, "QUIT");
    let pg_isready = find("pg_isready", &bins);
    wait_until("PostgreSQL answers", || {
        let ready = Command::new(&pg_isready)
            .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])
            .status();
        ready.is_ok_and(|status| status.success())
    });
    server
}
