//! Which server is the primary, by those who decide it.
//!
//! Every sentinel is kept connected: its `+switch-master` tells of a failover at once, and a
//! question a second is the backstop. Of different answers that of the latest configuration
//! counts, so that a sentinel that was cut off misleads no one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tokio::sync::watch;

use super::connect::{Opened, Opening, Purpose, refused_command};
use super::reply::{all_in_one, read};
use super::target::{Access, Address, HostPort, SentinelAccess, host_port};
use super::task::Task;
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::telemetry;

const ASK_EVERY: Duration = Duration::from_secs(1);
const ANSWER_MAX: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long the first answer waits for those of the others.
const OTHERS_MAX: Duration = Duration::from_millis(100);
const SENTINELS_MAX: usize = 32;

/// The sentinels of one primary, listened to for as long as this lives.
pub(super) struct Sentinels {
    shared: Arc<Shared>,
    _listening: Task,
}

struct Shared {
    primary: String,
    given: Vec<HostPort>,
    opening: Opening,
    /// With the credentials of Redis, for sentinels that ask for some and were given none.
    fallback: Option<Opening>,
    reports: watch::Sender<Reports>,
}

/// What each sentinel said last.
#[derive(Default)]
struct Reports {
    by_sentinel: HashMap<HostPort, Option<Result<Report>>>,
    /// What counted when any of them last said something.
    last: Option<Report>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Report {
    /// Rises with every failover.
    pub(super) epoch: u64,
    pub(super) primary: HostPort,
}

impl Reports {
    fn best(&self) -> Option<&Report> {
        let told = self.by_sentinel.values().flatten().filter_map(|report| report.as_ref().ok());
        told.max_by_key(|report| report.epoch)
    }

    fn all_answered(&self) -> bool {
        self.by_sentinel.values().all(Option::is_some)
    }

    /// Why there is no answer, once everyone was asked.
    fn trouble(&self) -> Option<Error> {
        let answers = self.by_sentinel.values().cloned().collect::<Option<Vec<_>>>()?;
        all_in_one(answers.into_iter().filter_map(Result::err).collect())
    }
}

impl Sentinels {
    /// # Errors
    /// `Misconfigured` for TLS settings that will not do.
    pub(super) fn listen(
        sentinels: &[HostPort],
        primary: &str,
        access: &SentinelAccess,
        redis: &Opening,
    ) -> Result<Self> {
        let with = |user: &Option<String>, password: &Option<String>| Opening {
            access: Access {
                user: user.clone(),
                password: password.clone(),
                client_name: redis.access.client_name.clone(),
                ..Access::default()
            },
            ..redis.clone()
        };
        let of_redis = || with(&redis.access.user, &redis.access.password);
        let shared = Arc::new(Shared {
            primary: primary.to_owned(),
            given: sentinels.to_vec(),
            opening: with(&access.user, &access.password),
            fallback: access.password.is_none().then(of_redis),
            reports: watch::Sender::default(),
        });
        let known = sentinels.iter().map(|at| (at.clone(), None)).collect();
        shared.reports.send_modify(|reports| reports.by_sentinel = known);
        let listening = Task::start(listen_to_all(Arc::clone(&shared)));
        Ok(Self { shared, _listening: listening })
    }

    /// The primary's name.
    pub(super) fn name(&self) -> &str {
        &self.shared.primary
    }

    /// Where the primary is. Waits until a sentinel has answered, or none did.
    ///
    /// # Errors
    /// Why no sentinel tells.
    pub(super) async fn primary(&self) -> Result<Report> {
        let mut reports = self.shared.reports.subscribe();
        let answered = |reports: &Reports| reports.best().is_some() || reports.all_answered();
        let _ = reports.wait_for(answered).await;
        // The first to answer may be one that was cut off.
        let all = reports.wait_for(Reports::all_answered);
        let _ = tokio::time::timeout(OTHERS_MAX, all).await;
        let reports = self.shared.reports.borrow();
        match (reports.best(), reports.trouble(), &reports.last) {
            (Some(report), _, _) => Ok(report.clone()),
            // They are away: where the primary was, it may still be.
            (None, _, Some(last)) => Ok(last.clone()),
            (None, Some(error), None) => Err(error),
            (None, None, None) => Err(unasked()),
        }
    }

    /// Comes back when a later configuration has the primary elsewhere. An earlier one, of a
    /// sentinel that was cut off, must not end a connection that works.
    pub(super) async fn moved_from(&self, epoch: u64, at: &HostPort) {
        let mut reports = self.shared.reports.subscribe();
        let elsewhere =
            |reports: &Reports| reports.best().is_some_and(|r| r.epoch > epoch && r.primary != *at);
        let _ = reports.wait_for(elsewhere).await;
    }
}

/// One task a sentinel, and one more for each that another one tells of.
async fn listen_to_all(shared: Arc<Shared>) {
    let mut listening: HashMap<HostPort, Task> = HashMap::new();
    let mut reports = shared.reports.subscribe();
    loop {
        let known: HashSet<HostPort> =
            reports.borrow_and_update().by_sentinel.keys().cloned().collect();
        listening.retain(|at, _| known.contains(at));
        for at in known {
            listening.entry(at.clone()).or_insert_with(|| {
                let shared = Arc::clone(&shared);
                Task::start(async move { shared.listen_to(&at).await })
            });
        }
        let _ = reports.changed().await;
    }
}

impl Shared {
    async fn listen_to(&self, at: &HostPort) {
        loop {
            let error = match self.open(at).await {
                Ok(opened) => self.follow(at, opened).await,
                Err(error) => error,
            };
            self.report(at, Err(error));
            tokio::time::sleep(PAUSE_MAX.mul_f64(fastrand::f64())).await;
        }
    }

    async fn open(&self, at: &HostPort) -> Result<Opened> {
        let address = Address::Tcp(at.clone());
        match (self.opening.open(&address, Purpose::Sentinel, None).await, &self.fallback) {
            (Err(error), Some(fallback)) if error.kind() == ErrorKind::Denied => {
                fallback.open(&address, Purpose::Sentinel, None).await
            }
            (opened, _) => opened,
        }
    }

    /// Asks at once, every second, and whenever the sentinel tells of a failover.
    async fn follow(&self, at: &HostPort, mut opened: Opened) -> Error {
        let mut subscribe = redis::cmd("SUBSCRIBE");
        subscribe.arg("+switch-master");
        if let Err(error) = opened.connection.call::<Value>(&subscribe).await {
            return error;
        }
        loop {
            match tokio::time::timeout(ANSWER_MAX, self.ask(at, &opened)).await {
                Ok(Ok((report, others))) => {
                    self.report(at, Ok(report));
                    self.learn(others);
                }
                Ok(Err(error)) => return error,
                Err(_) => {
                    let kind = ErrorKind::Unavailable { maybe_applied: false };
                    return Error::new(kind, format!("sentinel {at} went silent"));
                }
            }
            tokio::select! {
                () = tokio::time::sleep(ASK_EVERY) => {}
                push = opened.pushes.recv() => if push.is_none() {
                    let kind = ErrorKind::Unavailable { maybe_applied: false };
                    return Error::new(kind, format!("the connection to sentinel {at} was lost"));
                },
            }
        }
    }

    async fn ask(&self, at: &HostPort, opened: &Opened) -> Result<(Report, Vec<HostPort>)> {
        let address = Address::Tcp(at.clone());
        let mut questions = redis::pipe();
        // The first has the epoch, and the old address until the last replica has followed; the
        // second has the address that counts.
        questions.cmd("SENTINEL").arg("MASTER").arg(&self.primary);
        questions.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&self.primary);
        questions.cmd("SENTINEL").arg("SENTINELS").arg(&self.primary);
        let replies = opened.connection.send_all(&questions).await;
        let mut replies = replies.map_err(super::reply::told_by)?.into_iter();
        let mut next = |what| match replies.next() {
            Some(Err(e)) if e.to_string().contains("No such master") => Err(Error::misconfigured(
                format!("sentinel {at} knows no primary named {:?}", self.primary),
            )),
            Some(reply) => {
                reply.map_err(|e| refused_command(&address, what, &self.opening.access, e))
            }
            None => Err(Error::corrupt("a sentinel gave no reply")),
        };
        let settings: HashMap<String, String> = read(next("SENTINEL MASTER")?)?;
        let address: Option<(String, String)> = read(next("SENTINEL GET-MASTER-ADDR-BY-NAME")?)?;
        let others: Vec<HashMap<String, String>> = read(next("SENTINEL SENTINELS")?)?;
        let report = report_of(&settings, address)
            .ok_or_else(|| Error::corrupt(format!("sentinel {at} names no address")))?;
        Ok((report, others.iter().filter_map(address_of).collect()))
    }

    fn report(&self, at: &HostPort, report: Result<Report>) {
        self.reports.send_if_modified(|reports| {
            let before = reports.best().cloned();
            let is_new = match (reports.by_sentinel.get(at), &report) {
                (Some(Some(Ok(old))), Ok(new)) => old != new,
                _ => true,
            };
            reports.by_sentinel.insert(at.clone(), Some(report));
            if let Some(now) = reports.best().cloned() {
                if before.is_some_and(|before| before.primary != now.primary) {
                    metrics::counter!(telemetry::REDIS_FAILOVERS).increment(1);
                    tracing::warn!(primary = self.primary, at = %now.primary, "failover");
                }
                reports.last = Some(now);
            }
            is_new
        });
    }

    fn learn(&self, others: Vec<HostPort>) {
        self.reports.send_if_modified(|reports| {
            let before = reports.by_sentinel.len();
            // Learned once, named no more, and gone: a machine that was replaced.
            reports.by_sentinel.retain(|at, report| {
                self.given.contains(at) || others.contains(at) || !matches!(report, Some(Err(_)))
            });
            for other in others {
                if reports.by_sentinel.len() < SENTINELS_MAX {
                    // Whoever waits for everyone's first answer does not wait for these too.
                    reports.by_sentinel.entry(other).or_insert_with(|| Some(Err(unasked())));
                }
            }
            reports.by_sentinel.len() != before
        });
    }
}

fn unasked() -> Error {
    Error::new(ErrorKind::Unavailable { maybe_applied: false }, "a sentinel was not asked yet")
}

fn report_of(
    settings: &HashMap<String, String>,
    address: Option<(String, String)>,
) -> Option<Report> {
    let epoch = settings.get("config-epoch")?.parse().ok()?;
    let (host, port) = address?;
    Some(Report { epoch, primary: host_and_port(&host, &port)? })
}

fn address_of(fields: &HashMap<String, String>) -> Option<HostPort> {
    host_and_port(fields.get("ip")?, fields.get("port")?)
}

fn host_and_port(host: &str, port: &str) -> Option<HostPort> {
    let host = match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    };
    host_port(&format!("{host}:{port}"), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> HostPort {
        HostPort { host: "127.0.0.1".to_owned(), port }
    }

    #[test]
    fn the_latest_configuration_counts_and_not_the_majority() {
        let mut reports = Reports::default();
        let said = |epoch, port| Some(Ok(Report { epoch, primary: at(port) }));
        reports.by_sentinel.insert(at(1), said(3, 6379));
        reports.by_sentinel.insert(at(2), said(4, 6380));
        reports.by_sentinel.insert(at(3), said(3, 6379));
        assert_eq!(reports.best().unwrap().primary, at(6380));
        // Its connection is lost: what it said last counts no more for who looks anew.
        reports.by_sentinel.insert(at(2), Some(Err(unasked())));
        assert_eq!(reports.best().unwrap().primary, at(6379));
    }

    #[test]
    fn the_epoch_is_of_the_settings_and_the_address_is_the_one_that_is_given_out() {
        // As a leader answers between the promotion and the last replica that follows.
        let fields = [("ip", "127.0.0.1"), ("port", "6379"), ("config-epoch", "7")];
        let settings = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let address = Some(("127.0.0.1".to_owned(), "6380".to_owned()));
        let report = report_of(&settings, address).unwrap();
        assert_eq!(report, Report { epoch: 7, primary: at(6380) });
        assert_eq!(report_of(&settings, None), None);
    }

    #[test]
    fn trouble_is_told_once_all_were_asked_and_is_final_when_all_agree() {
        let mut reports = Reports::default();
        reports.by_sentinel.insert(at(1), Some(Err(unasked())));
        reports.by_sentinel.insert(at(2), None);
        assert!(reports.trouble().is_none());
        reports.by_sentinel.insert(at(2), Some(Err(Error::misconfigured("no such primary"))));
        let trouble = reports.trouble().unwrap();
        assert!(trouble.is_retryable(), "the other may come back and know better");
        assert!(trouble.to_string().contains("no such primary"), "{trouble}");
        reports.by_sentinel.insert(at(1), Some(Err(Error::misconfigured("no such primary"))));
        assert_eq!(reports.trouble().unwrap().kind(), ErrorKind::Misconfigured);
    }
}
