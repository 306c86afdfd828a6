//! `sinew lock …`: commands under a lock, and locks as people look at them.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::hub::{BINARY, Hub, exit_code, sinew, text};
use crate::world::{Server, free_port, redis_cli, signal, start_redis, wait_until};

/// A Redis, and commands that are told of it.
struct Fleet {
    server: Server,
    store: String,
}

impl Fleet {
    fn start() -> Self {
        let server = start_redis();
        let store = format!("redis://127.0.0.1:{}", server.port);
        Self { server, store }
    }

    fn arguments<'a>(&'a self, flags: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
        let run = ["lock", "run", "nightly", "--store", &self.store];
        [&run[..], flags, &["--"], command].concat()
    }

    /// Runs a command under the lock, to its end.
    fn run(&self, flags: &[&str], command: &[&str]) -> Output {
        sinew(&self.arguments(flags, command))
    }

    /// Starts one that goes on while its input is open, or while it likes.
    fn hold(&self, flags: &[&str], command: &[&str]) -> Holder {
        self.hold_by(Command::new(BINARY), flags, command)
    }

    fn hold_by(&self, mut sinew: Command, flags: &[&str], command: &[&str]) -> Holder {
        let mut child = sinew
            .args(self.arguments(flags, command))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Holder { child, said }
    }

    fn waiting(&self) -> u64 {
        let listed = sinew(&["lock", "list", "--json", "--store", &self.store]);
        let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
        listed[0]["waiting"].as_u64().unwrap_or(0)
    }
}

struct Holder {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Holder {
    /// The next line of the command.
    fn says(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Its code, and what was complained of, once its input has ended, and it has.
    fn ends(mut self) -> (i32, String) {
        drop(self.child.stdin.take());
        self.ends_by_itself()
    }

    /// The same for one whose input stays open.
    fn ends_by_itself(mut self) -> (i32, String) {
        let _input = self.child.stdin.take();
        let mut errors = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        (self.child.wait().unwrap().code().expect("an exit code"), errors)
    }
}

fn is_alive(pid: &str) -> bool {
    // One that has ended, and that no one has asked for yet, is not.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

#[test]
fn of_shells_that_start_at_once_one_runs_and_the_others_end_with_75() {
    let fleet = Fleet::start();
    let script = ["sh", "-c", "echo $SINEW_LOCK_NAME $SINEW_LOCK_FENCE; cat"];
    let mut shells: Vec<Holder> = (0..4).map(|_| fleet.hold(&[], &script)).collect();
    wait_until("three are turned away", || {
        let ended = shells.iter_mut().map(|shell| shell.child.try_wait().unwrap());
        ended.flatten().count() == 3
    });
    let mut ran = 0;
    for mut shell in shells {
        let line = match shell.child.try_wait().unwrap() {
            Some(_) => shell.says(),
            // It goes on until its input ends.
            None => {
                ran += 1;
                let line = shell.says();
                let (name, fence) = line.split_once(' ').unwrap();
                assert_eq!(name, "nightly");
                assert!(fence.parse::<u64>().unwrap() > 1_000_000);
                assert_eq!(shell.ends(), (0, String::new()));
                continue;
            }
        };
        assert_eq!(line, "", "it did not run");
        let (code, errors) = shell.ends();
        assert_eq!(code, 75, "{errors}");
        assert!(errors.starts_with("error: someone else holds lock \"nightly\""), "{errors}");
    }
    assert_eq!(ran, 1);
    // It was freed, and not left to its TTL.
    assert_eq!(exit_code(&fleet.run(&[], &["true"])), 0);
}

#[test]
fn a_holder_that_is_killed_is_succeeded_when_its_ttl_has_run_out() {
    let fleet = Fleet::start();
    let mut holder = fleet.hold(&["--ttl", "2s"], &["sh", "-c", "echo on; cat"]);
    assert_eq!(holder.says(), "on");
    assert_eq!(exit_code(&fleet.run(&[], &["true"])), 75);
    holder.child.kill().unwrap();
    let began = Instant::now();
    let next = fleet.run(&["--wait", "1m"], &["echo", "ran"]);
    assert_eq!((exit_code(&next), text(&next.stdout)), (0, "ran\n".to_owned()));
    let took = began.elapsed();
    println!("succeeded after {took:?}, of 2 s");
    assert!(took < Duration::from_secs(30), "it did not wait for all of its minute: {took:?}");
    holder.child.wait().unwrap();
}

#[test]
fn a_lock_is_held_for_longer_than_its_ttl_and_then_handed_on() {
    let fleet = Fleet::start();
    let mut holder = fleet.hold(&["--ttl", "1s"], &["sh", "-c", "echo on; cat"]);
    assert_eq!(holder.says(), "on");
    // Whoever waits for two TTLs does not get it.
    let late = fleet.run(&["--wait", "2s"], &["true"]);
    let errors = text(&late.stderr);
    assert_eq!(exit_code(&late), 75, "{errors}");
    assert!(errors.contains("or wait for longer than --wait 2s"), "{errors}");
    let mut next = fleet.hold(&["--wait", "1m"], &["echo", "next"]);
    wait_until("it waits", || fleet.waiting() == 1);
    assert_eq!(holder.ends(), (0, String::new()));
    assert_eq!(next.says(), "next");
    assert_eq!(next.ends().0, 0);
}

#[test]
fn a_command_ends_as_itself() {
    let fleet = Fleet::start();
    for (command, code) in [
        (&["sh", "-c", "exit 7"][..], 7),
        (&["sh", "-c", "kill -TERM $$"], 128 + 15),
        (&["sh", "-c", "kill -KILL $$"], 128 + 9),
        (&["/nowhere/at-all"], 127),
        (&["/etc/passwd"], 126),
        (&["true"], 0),
    ] {
        let output = fleet.run(&[], command);
        let errors = text(&output.stderr);
        assert_eq!(exit_code(&output), code, "{command:?}: {errors}");
        let is_told = errors.starts_with("error: cannot run");
        assert_eq!(is_told, [126, 127].contains(&code), "{command:?}: {errors}");
    }
}

#[test]
fn a_command_and_all_it_started_end_when_the_lock_is_lost() {
    let fleet = Fleet::start();
    // The second is deaf to SIGTERM, and so are those whom it starts.
    let polite = "sleep 600 & echo $!; wait";
    let deaf = "trap '' TERM; sleep 600 & echo $!; wait";
    for (script, code) in [(polite, 128 + 15), (deaf, 128 + 9)] {
        let mut holder = fleet.hold(&["--ttl", "3s"], &["sh", "-c", script]);
        let started = holder.says();
        assert!(is_alive(&started), "{started}");
        let release = ["lock", "release", "nightly", "--force", "--yes", "--store", &fleet.store];
        assert_eq!(exit_code(&sinew(&release)), 0);
        let (ended, errors) = holder.ends();
        assert_eq!(ended, code, "{script}: {errors}");
        let why = "error: lock \"nightly\" was lost, since it was taken away";
        assert!(errors.contains(why), "{errors}");
        wait_until("what it started is gone", || !is_alive(&started));
    }
    // One that ends well for all that did not run under its lock to the end.
    let well = "trap 'exit 0' TERM; echo on; while :; do sleep 0.1; done";
    let mut holder = fleet.hold(&["--ttl", "1s"], &["sh", "-c", well]);
    assert_eq!(holder.says(), "on");
    redis_cli(fleet.server.port, &["FLUSHALL"]);
    assert_eq!(holder.ends().0, 1);
}

#[test]
fn a_command_that_goes_on_for_too_long_is_ended_although_it_is_stopped() {
    let fleet = Fleet::start();
    let flags = ["--ttl", "2s", "--max-hold", "2s"];
    // As the terminal stops one that asks at it.
    let holder = fleet.hold(&flags, &["sh", "-c", "kill -STOP $$; sleep 600"]);
    let began = Instant::now();
    let (code, errors) = holder.ends_by_itself();
    assert_eq!(code, 128 + 15, "{errors}");
    assert!(errors.contains("was lost, since --max-hold is over: its command"), "{errors}");
    // Not by SIGKILL, ten seconds later.
    println!("ended after {:?}, of 2 s", began.elapsed());
    assert_eq!(exit_code(&fleet.run(&["--wait", "1m"], &["true"])), 0);
}

#[test]
fn a_lock_that_is_lost_with_its_redis_is_told_so() {
    let mut fleet = Fleet::start();
    let mut holder =
        fleet.hold(&["--ttl", "1s", "--max-hold", "5m"], &["sh", "-c", "echo on; cat"]);
    assert_eq!(holder.says(), "on");
    fleet.server.kill();
    let (code, errors) = holder.ends_by_itself();
    assert_eq!(code, 128 + 15, "{errors}");
    assert!(errors.contains("was lost, since Redis did not answer in time"), "{errors}");
}

#[test]
fn signals_are_passed_on_and_the_lock_is_freed_after_the_command() {
    let fleet = Fleet::start();
    for (name, code) in [("INT", 3), ("TERM", 4)] {
        let script =
            format!("trap 'echo bye; exit {code}' {name}; echo on; while :; do sleep 0.1; done");
        let mut holder = fleet.hold(&[], &["sh", "-c", &script]);
        assert_eq!(holder.says(), "on");
        signal(holder.child.id(), name);
        assert_eq!(holder.says(), "bye");
        // A shell may say that what it waited for was ended, too.
        assert_eq!(holder.ends().0, code);
        assert_eq!(exit_code(&fleet.run(&[], &["true"])), 0, "it is free at once");
    }
    let mut holder = fleet.hold(&[], &["sh", "-c", "echo on; cat"]);
    assert_eq!(holder.says(), "on");
    // Suspended, it would lose the lock and not notice.
    signal(holder.child.id(), "TSTP");
    let leaves = || {
        let waiter = fleet.hold(&["--wait", "1m"], &["echo", "never"]);
        wait_until("it waits", || fleet.waiting() == 1);
        signal(waiter.child.id(), "TERM");
        assert_eq!(waiter.ends(), (128 + 15, String::new()));
        let has_left = fleet.waiting() == 0;
        wait_until("it is forgotten", || fleet.waiting() == 0);
        has_left
    };
    // Before it ended, but where the machine stalls; one that is dead is forgotten after three seconds.
    assert!((0..3).any(|_| leaves()), "it left the line");
    assert_eq!(holder.ends().0, 0);
}

#[test]
fn under_nohup_a_terminal_that_hangs_up_ends_neither_command_nor_lock() {
    let fleet = Fleet::start();
    let mut nohup = Command::new("sh");
    nohup.args(["-c", r#"trap '' HUP; exec "$0" "$@""#, BINARY]);
    let mut holder = fleet.hold_by(nohup, &[], &["sh", "-c", "echo on; cat; echo off"]);
    assert_eq!(holder.says(), "on");
    signal(holder.child.id(), "HUP");
    assert_eq!(exit_code(&fleet.run(&[], &["true"])), 75);
    drop(holder.child.stdin.take());
    assert_eq!(holder.says(), "off");
    assert_eq!(holder.ends(), (0, String::new()));
}

#[test]
fn locks_are_listed_and_taken_away_on_redis_and_through_a_hub() {
    let fleet = Fleet::start();
    let hub = Hub::serve(&["--store", &fleet.store]);
    let address = hub.url.trim_start_matches("http://").to_owned();
    wait_until("it is ready", || {
        let listed = sinew(&["lock", "list", "--listen", &address]);
        exit_code(&listed) == 0
    });
    // One hears of it with its next renewal, the other one when it frees what it has not.
    for (place, ttl, is_told) in
        [(["--store", fleet.store.as_str()], "3s", true), (["--listen", &address], "5m", false)]
    {
        let command = |words: &[&str]| sinew(&[&["lock"], words, &place[..]].concat());
        let mut holder = fleet.hold(&["--ttl", ttl], &["sh", "-c", "echo on; cat"]);
        assert_eq!(holder.says(), "on");
        let table = text(&command(&["list"]).stdout);
        assert!(table.starts_with("LOCK") && table.contains("nightly  exclusive"), "{table}");
        let listed: Value = serde_json::from_slice(&command(&["list", "--json"]).stdout).unwrap();
        assert_eq!(listed[0]["name"], "nightly");
        assert_eq!((&listed[0]["holding"], &listed[0]["waiting"]), (&json!(1), &json!(0)));

        let asks = command(&["release", "nightly", "--force"]);
        let errors = text(&asks.stderr);
        assert_eq!(exit_code(&asks), 2, "{errors}");
        assert!(errors.contains("expected --yes") && errors.contains("127.0.0.1"), "{errors}");
        let meek = command(&["release", "nightly", "--yes"]);
        assert_eq!(exit_code(&meek), 2);
        assert!(text(&meek.stderr).contains("expected --force"), "{}", text(&meek.stderr));
        assert_eq!(exit_code(&fleet.run(&[], &["true"])), 75, "it is held all the same");

        let taken = command(&["release", "nightly", "--force", "--yes", "--json"]);
        assert_eq!(text(&taken.stdout), "{\"released\":1}\n", "{}", text(&taken.stderr));
        let none = text(&command(&["release", "nightly", "--force", "--yes"]).stdout);
        assert!(none.starts_with("No one held lock \"nightly\" of no tenant in "), "{none}");
        if is_told {
            let (code, errors) = holder.ends_by_itself();
            assert_eq!(code, 128 + 15, "{errors}");
            assert!(errors.contains("was lost, since it was taken away"), "{errors}");
        } else {
            let (code, errors) = holder.ends();
            assert_eq!(code, 0, "{errors}");
            assert!(errors.contains("was taken away just before"), "{errors}");
        }
    }
}

#[test]
fn every_lock_command_shows_an_example() {
    for command in ["run", "list", "release"] {
        let help = text(&sinew(&["lock", command, "--help"]).stdout);
        assert!(help.contains("Example"), "{command}: {help}");
    }
    let run = text(&sinew(&["lock", "run", "--help"]).stdout);
    assert!(run.contains("flock") && run.contains("75") && run.contains("SINEW_LOCK_FENCE"));
}

#[test]
fn bad_input_to_a_lock_command_ends_with_2_and_an_outage_with_1() {
    let nowhere = format!("redis://127.0.0.1:{}", free_port());
    let fleet = Fleet::start();
    let store = fleet.store.as_str();
    for arguments in [
        &["run", "a", "--", "true"][..],
        &["run", "a", "--store", store],
        &["run", "a", "--store", store, "true"],
        &["run", "a", "--ttl", "soon", "--store", store, "--", "true"],
        &["run", "a", "--wait", "-1s", "--store", store, "--", "true"],
        &["run", "a", "--ttl", "1ms", "--store", store, "--", "true"],
        &["run", "", "--store", store, "--", "true"],
        &["run", "a", "--tenant", "a_b", "--store", store, "--", "true"],
        &["list", "--prefix", "App_"],
        &["release", "..", "--force", "--yes"],
    ] {
        let output = sinew(&[&["lock"], arguments].concat());
        let errors = text(&output.stderr);
        assert_eq!(exit_code(&output), 2, "{arguments:?}: {errors}");
        assert!(errors.starts_with("error: "), "{arguments:?}: {errors}");
        assert!(!errors.contains("unexpected argument '-1s'"), "{arguments:?}: {errors}");
        assert!(output.stdout.is_empty());
    }
    for arguments in [
        &["run", "a", "--store", &nowhere, "--", "echo", "ran"][..],
        &["run", "a", "--wait", "1m", "--store", &nowhere, "--", "echo", "ran"],
        &["list", "--store", &nowhere],
    ] {
        let output = sinew(&[&["lock"], arguments].concat());
        assert_eq!(exit_code(&output), 1, "{arguments:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}
