//! Flags without Redis: at the start, in the middle, hung; and the copy on disk, whatever became of it.

use std::path::Path;
use std::time::{Duration, Instant};

use sinew::flag::{Expected, Flag, Flags, FlagsState, Reason};
use sinew::{Sinew, Status};

use crate::flag::{ada, for_all_but, open};
use crate::laws::{eventually, keep};
use crate::outage::{blocking, connect, down, process_at};
use crate::world::{
    Proxy, free_port, redis_cli, signal, start_redis, start_redis_on, temporary_folder,
};

/// However busy the machine: an evaluation waits for no one.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A process that finds no Redis.
fn stranded(port: u16) -> Sinew {
    let builder = Sinew::builder().deadline(Duration::from_millis(100));
    builder.connect_lazy(&format!("redis://127.0.0.1:{port}")).unwrap()
}

async fn with_copy(sinew: &Sinew, path: &Path) -> Flags {
    sinew.flags().env("prod").disk_cache(path).open().await.unwrap()
}

/// Writes a flag to a Redis, has it copied to disk, and takes the Redis away.
async fn leave_a_copy(path: &Path) {
    let mut server = blocking(start_redis).await;
    let flags = with_copy(&process_at(server.port).await, path).await;
    flags.put("new-ui", for_all_but("eve"), Expected::Any, "bob").await.unwrap();
    // The last of several writes is the one that stays.
    let last = flags.edit("other").default("on").by("bob").save().await.unwrap().revision;
    redis_cli(server.port, &["SET", "_:feature:by-hand:user:ada", "true"]);
    eventually("the plain key is known", || async { flags.enabled("by-hand", &ada()) }).await;
    let is_copied = || async {
        let copy = std::fs::read_to_string(path).unwrap_or_default();
        copy.lines().next().is_some_and(|head| head.contains(&last.to_string()))
    };
    eventually("it is copied", is_copied).await;
    blocking(move || server.kill()).await;
}

#[test]
fn without_redis_and_without_a_copy_everything_is_what_the_code_says() {
    keep(|| async {
        let port = free_port();
        let sinew = stranded(port);
        let began = Instant::now();
        let flags = open(&sinew).await;
        assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
        assert_eq!(flags.state(), FlagsState::Defaults);
        assert!(!flags.enabled("new-ui", &ada()) && flags.enabled_or("new-ui", &ada(), true));
        let evaluation = flags.evaluate("new-ui", &ada(), 7);
        assert_eq!((evaluation.value, evaluation.reason), (7, Reason::Default));
        for error in [
            flags.put("new-ui", Flag::bool(), Expected::Any, "bob").await.unwrap_err(),
            flags.kill("new-ui", "bob").await.unwrap_err(),
            flags.edit("new-ui").by("bob").save().await.unwrap_err(),
            flags.history(None, 1).await.unwrap_err(),
        ] {
            assert!(error.is_retryable(), "{error:#}");
        }

        // As soon as there is one, all is well.
        let server = blocking(move || start_redis_on(port, &[])).await;
        let writer = open(&process_at(port).await).await;
        writer.put("new-ui", for_all_but("eve"), Expected::Any, "bob").await.unwrap();
        eventually("it is known", || async { flags.enabled("new-ui", &ada()) }).await;
        assert_eq!(flags.state(), FlagsState::Live);
        drop(server);
    });
}

#[test]
fn a_start_without_redis_knows_what_was_known_last() {
    keep(|| async {
        let folder = temporary_folder("flags");
        let path = folder.join("prod.flags");
        leave_a_copy(&path).await;
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("by-hand"), "plain keys are not for disks: {text}");
        let port = free_port();
        let flags = with_copy(&stranded(port), &path).await;
        assert_eq!(flags.state(), FlagsState::Disk);
        assert!(flags.enabled("new-ui", &ada()) && flags.enabled("other", &ada()));
        assert!(!flags.enabled("by-hand", &ada()));
        assert_eq!(flags.evaluate("new-ui", &ada(), false).reason, Reason::Stale);

        // Someone else's copy is of no use.
        let sinew = stranded(free_port());
        let other_env = sinew.flags().env("test").disk_cache(&path).open().await.unwrap();
        let other_tenant = with_copy(&sinew.tenant("acme").unwrap(), &path).await;
        for flags in [other_env, other_tenant] {
            assert_eq!((flags.state(), flags.list().len()), (FlagsState::Defaults, 0));
        }

        // A Redis that has lost them is no reason to forget them.
        let server = blocking(move || start_redis_on(port, &[])).await;
        let is_asked = || async { matches!(flags.state(), FlagsState::Lost { .. }) };
        eventually("it was asked", is_asked).await;
        assert!(flags.enabled("new-ui", &ada()));
        flags.put("fresh", for_all_but("eve"), Expected::Any, "bob").await.unwrap();
        assert_eq!((flags.state(), flags.list().len()), (FlagsState::Live, 3));
        drop(server);
        let _ = std::fs::remove_dir_all(folder);
    });
}

#[test]
fn a_damaged_copy_is_left_out_and_replaced() {
    keep(|| async {
        let folder = temporary_folder("flags");
        let path = folder.join("prod.flags");
        leave_a_copy(&path).await;
        let good = std::fs::read(&path).unwrap();
        let mut flipped = good.clone();
        let last = flipped.len() - 20;
        flipped[last] ^= 1;
        for bad in [&b"garbage"[..], b"", &good[..good.len() / 2], &flipped[..]] {
            std::fs::write(&path, bad).unwrap();
            let flags = with_copy(&stranded(free_port()), &path).await;
            assert_eq!((flags.state(), flags.list().len()), (FlagsState::Defaults, 0));
        }
        let server = blocking(start_redis).await;
        let flags = with_copy(&process_at(server.port).await, &path).await;
        flags.put("new-ui", for_all_but("eve"), Expected::Any, "bob").await.unwrap();
        let again = || async {
            let flags = with_copy(&stranded(free_port()), &path).await;
            flags.enabled("new-ui", &ada())
        };
        eventually("there is a good one again", again).await;
        let _ = std::fs::remove_dir_all(folder);
    });
}

#[test]
fn a_disk_that_takes_no_copy_is_no_ones_trouble() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let sinew = process_at(server.port).await;
        let folder = temporary_folder("flags");
        let file = folder.join("file");
        std::fs::write(&file, "not a folder").unwrap();
        // No such folder, a folder itself, and something in a file.
        for path in [folder.join("nowhere/prod.flags"), folder.clone(), file.join("prod.flags")] {
            let flags = with_copy(&sinew, &path).await;
            let key = format!("flag-{}", flags.list().len());
            flags.put(&key, for_all_but("eve"), Expected::Any, "bob").await.unwrap();
            assert!(flags.enabled(&key, &ada()));
            assert_eq!(flags.state(), FlagsState::Live);
        }
        let _ = std::fs::remove_dir_all(folder);
    });
}

#[test]
fn an_outage_changes_no_answer_and_what_was_to_end_ends() {
    keep(|| async {
        let mut server = blocking(start_redis).await;
        let port = server.port;
        let sinew = process_at(port).await;
        let flags = open(&sinew).await;
        flags.put("new-ui", for_all_but("eve"), Expected::Any, "bob").await.unwrap();
        redis_cli(port, &["SET", "_:feature:by-hand:global", "true", "EX", "10"]);
        eventually("the plain key is known", || async { flags.enabled("by-hand", &ada()) }).await;
        let server = blocking(move || {
            server.kill();
            server.wait_gone();
            server
        })
        .await;
        down(&sinew).await;
        let revision = flags.revision();
        let has_ended = || async {
            assert!(flags.enabled("new-ui", &ada()));
            !flags.enabled("by-hand", &ada())
        };
        eventually("it ends by itself", has_ended).await;
        let is_told = || async { flags.revision() != revision && flags.overlays().is_empty() };
        eventually("that is another revision", is_told).await;
        let is_stale = || async { matches!(flags.state(), FlagsState::Stale { .. }) };
        eventually("they are called stale", is_stale).await;
        let evaluation = flags.evaluate("new-ui", &ada(), false);
        assert_eq!((evaluation.value, evaluation.reason), (true, Reason::Stale));
        drop(server);

        // Back with nothing in it: the last that were known stay.
        let server = blocking(move || start_redis_on(port, &[])).await;
        eventually("it is up", || async { matches!(sinew.status(), Status::Up) }).await;
        assert!(flags.enabled("new-ui", &ada()));
        flags.kill("new-ui", "bob").await.unwrap();
        assert!(!flags.enabled("new-ui", &ada()));
        assert_eq!(flags.state(), FlagsState::Live);
        drop(server);
    });
}

#[test]
fn a_hung_redis_holds_up_no_evaluation() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let flags = open(&connect(&server).await).await;
        flags.put("new-ui", for_all_but("eve"), Expected::Any, "bob").await.unwrap();
        signal(server.pid, "STOP");
        let began = Instant::now();
        for _ in 0..1_000 {
            assert!(flags.enabled("new-ui", &ada()));
        }
        assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
        let error = flags.kill("new-ui", "bob").await.unwrap_err();
        assert!(error.is_retryable(), "{error:#}");
        let is_stale = || async { matches!(flags.state(), FlagsState::Stale { .. }) };
        eventually("they are called stale", is_stale).await;
        assert!(flags.enabled("new-ui", &ada()));
        signal(server.pid, "CONT");
        eventually("it is well again", || async { flags.state() == FlagsState::Live }).await;
        let kill = || async { flags.kill("new-ui", "bob").await.is_ok() };
        eventually("and is written to", kill).await;
        assert!(!flags.enabled("new-ui", &ada()));
    });
}

#[test]
fn a_change_whose_reply_was_lost_is_made_once_at_most() {
    keep(|| async {
        let (server, proxy) = blocking(|| {
            let server = start_redis();
            let proxy = Proxy::start(server.port);
            (server, proxy)
        })
        .await;
        let url = format!("redis://127.0.0.1:{}", proxy.port);
        let sinew = Sinew::builder().deadline(Duration::from_secs(5)).connect(&url).await.unwrap();
        let flags = open(&sinew).await;
        let observer = open(&process_at(server.port).await).await;
        let (mut lost, mut made) = (0, 0);
        for round in 0..30_u64 {
            eventually("up", || async { matches!(sinew.status(), Status::Up) }).await;
            let key = format!("flag-{round}");
            // The script is known, and so is the way.
            let _ = flags.edit("warm").describe(key.clone()).by("bob").save().await;
            proxy.delay(Duration::from_millis(2));
            let put = flags.put(&key, for_all_but("eve"), Expected::Absent, "bob");
            let cut = async {
                // At some point of reading and writing.
                tokio::time::sleep(Duration::from_millis(round % 12)).await;
                proxy.cut_at_next_reply();
            };
            let (put, ()) = tokio::join!(put, cut);
            proxy.pass();
            let history = observer.history(Some(&key), 10).await.unwrap();
            match put {
                Ok(written) => assert_eq!(history[0].after, written.after),
                Err(error) => {
                    assert!(error.is_retryable(), "{error:#}");
                    lost += 1;
                    made += usize::from(!history.is_empty());
                    assert!(error.maybe_applied() || history.is_empty());
                }
            }
            assert!(history.len() <= 1, "{history:?}");
        }
        println!("{lost} replies were lost, {made} of them to changes that were made");
        assert!(lost > 0, "the proxy cuts nothing");
    });
}
