//! A task of a worker: what it does to sessions, and how it tells of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use sinew::session::{Login, Saved, Session, SessionId, Sessions};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::history::{Known, NONE, Op, Said, What};
use crate::lock_torture::history::Attempt;
use crate::member::setting;
use crate::tortured::{millis, now_ns};

const USERS: [&str; 3] = ["ada", "ben", "eve"];

pub struct Visitor {
    sessions: Sessions,
    register: BufReader<TcpStream>,
    by: Attempt,
    random: fastrand::Rng,
    /// Saves past the library, where that is what is to be found out.
    careless: Option<MultiplexedConnection>,
}

/// A session as Redis had it.
struct Kept {
    key: String,
    bytes: Vec<u8>,
}

impl Visitor {
    pub async fn connect(sessions: Sessions, store: &str, task: u64) -> Self {
        let port = u16::try_from(setting("SINEW_SESSION_WORKER_REGISTER", 0)).expect("a port");
        let socket = TcpStream::connect(("127.0.0.1", port)).await.expect("a register");
        socket.set_nodelay(true).expect("a socket option");
        let (process, life) =
            (setting("SINEW_SESSION_WORKER_PROCESS", 0), setting("SINEW_SESSION_WORKER_LIFE", 0));
        let seed = setting("SINEW_TORTURE_SEED", 1) ^ ((process << 32) | (life << 16) | task);
        let careless = match setting("SINEW_SESSION_WORKER_RECREATES", 0) {
            0 => None,
            _ => {
                let client = redis::Client::open(store).expect("a URL");
                Some(client.get_multiplexed_async_connection().await.expect("a connection"))
            }
        };
        let by = Attempt { process, life, task, number: 0 };
        let (register, random) = (BufReader::new(socket), fastrand::Rng::with_seed(seed));
        Self { sessions, register, by, random, careless }
    }

    pub async fn visit(mut self, running: Arc<AtomicBool>) {
        while running.load(Ordering::SeqCst) {
            match self.random.u32(..1_000) {
                0..60 => self.begins().await,
                60..68 => self.logs_out_all().await,
                _ => match self.pick().await {
                    Some(known) => self.uses(known).await,
                    None => self.begins().await,
                },
            }
            let pause = millis(0, 10, &mut self.random);
            tokio::time::sleep(pause).await;
        }
    }

    async fn uses(&mut self, known: Known) {
        let is_of_user = known.user != NONE;
        let session = self.sessions.open(known.token.parse().expect("a token"));
        match self.random.u32(..200) {
            0..4 => self.logs_out(&session, &known).await,
            4..8 => self.rotates(&session, &known).await,
            8..12 => self.logs_in(&session, &known).await,
            12..16 if is_of_user => self.revokes(&known).await,
            16..19 if is_of_user => self.logs_out_others(&known).await,
            19..29 if is_of_user => self.lists(&known.user).await,
            // One that was not read before.
            29..49 => self.saves(&session, &known).await,
            _ => self.reads_and_saves(&session, &known).await,
        }
    }

    async fn begins(&mut self) {
        let (session, user) = (self.sessions.begin(), self.random.usize(..=USERS.len()));
        let user = USERS.get(user).copied().unwrap_or(NONE);
        let op = self.begin(What::Begins, NONE, user).await;
        session.set("begun", &self.by.number).expect("a good name");
        let said = match user {
            NONE => match session.save().await {
                Ok(Saved::Done) => Said::Done,
                Ok(_) => Said::Refused,
                Err(_) => Said::Failed,
            },
            user => said_of_login(&session.login(user).await),
        };
        self.end_with_new(op, said, &session).await;
    }

    async fn reads_and_saves(&mut self, session: &Session, known: &Known) {
        let kept = self.copy(&known.id).await;
        let op = self.begin(What::Reads, &known.id, &known.user).await;
        let said = match session.is_live().await {
            Ok(true) => Said::Live,
            Ok(false) => Said::Gone,
            Err(_) => Said::Failed,
        };
        self.end(op, said, NONE).await;
        if said == Said::Live && self.random.bool() {
            // As a request takes its time, in which others end it.
            let pause = millis(0, 30, &mut self.random);
            tokio::time::sleep(pause).await;
            match kept {
                Some(kept) => self.writes_back(&kept, known).await,
                None => self.saves(session, known).await,
            }
        }
    }

    async fn saves(&mut self, session: &Session, known: &Known) {
        let op = self.begin(What::Saves, &known.id, &known.user).await;
        let name = format!("of-{}-{}", self.by.process, self.by.task);
        session.set(&name, &self.by.number).expect("a good name");
        let saved = match self.random.u8(..4) {
            0 => session.save_if_unchanged().await,
            _ => session.save().await,
        };
        match (saved, session.id().map(|id| id.to_string())) {
            (Ok(Saved::Done | Saved::Conflict), Some(id)) if id == known.id => {
                self.end(op, Said::Live, NONE).await;
            }
            // It had ended before this one read it: what was set is in a new one, of nobody.
            (Ok(Saved::Done), Some(_)) => {
                let began_ns = op.began_ns;
                self.end(op, Said::Gone, NONE).await;
                let op = Op { began_ns, ..self.begin(What::Begins, NONE, NONE).await };
                self.end_with_new(op, Said::Done, session).await;
            }
            (Ok(Saved::Gone), _) => self.end(op, Said::Gone, NONE).await,
            (Ok(_), _) => self.end(op, Said::Refused, NONE).await,
            (Err(_), _) => self.end(op, Said::Failed, NONE).await,
        }
    }

    async fn rotates(&mut self, session: &Session, known: &Known) {
        let op = self.begin(What::Rotates, &known.id, &known.user).await;
        let said = match session.rotate().await {
            Ok(true) => Said::Done,
            Ok(false) => Said::Gone,
            Err(_) => Said::Failed,
        };
        self.end_with_new(op, said, session).await;
    }

    async fn logs_in(&mut self, session: &Session, known: &Known) {
        let user = USERS[self.random.usize(..USERS.len())];
        let op = self.begin(What::LogsIn, &known.id, user).await;
        let said = said_of_login(&session.login(user).await);
        self.end_with_new(op, said, session).await;
    }

    async fn logs_out(&mut self, session: &Session, known: &Known) {
        let op = self.begin(What::LogsOut, &known.id, &known.user).await;
        let said = said_of(&session.logout().await);
        self.end(op, said, NONE).await;
    }

    async fn revokes(&mut self, known: &Known) {
        let id: SessionId = known.id.parse().expect("an id");
        let op = self.begin(What::Revokes, &known.id, &known.user).await;
        let said = said_of(&self.sessions.revoke(&known.user, &id).await);
        self.end(op, said, NONE).await;
    }

    async fn logs_out_all(&mut self) {
        let user = USERS[self.random.usize(..USERS.len())];
        let op = self.begin(What::LogsOutAll, NONE, user).await;
        let said = said_of(&self.sessions.logout_all(user).await);
        self.end(op, said, NONE).await;
    }

    async fn logs_out_others(&mut self, known: &Known) {
        let stays: SessionId = known.id.parse().expect("an id");
        let op = self.begin(What::LogsOutOthers, &known.id, &known.user).await;
        let said = said_of(&self.sessions.logout_others(&known.user, &stays).await);
        self.end(op, said, NONE).await;
    }

    async fn lists(&mut self, user: &str) {
        let op = self.begin(What::Lists, NONE, user).await;
        let (began_ns, listed) = (op.began_ns, self.sessions.list(user).await);
        self.end(op, said_of(&listed), &listed.as_ref().map_or(0, Vec::len).to_string()).await;
        for info in listed.unwrap_or_default() {
            let op = self.begin(What::Listed, &info.id.to_string(), user).await;
            self.end(Op { began_ns, ..op }, Said::Live, NONE).await;
        }
    }

    /// As Redis has it, for one who writes it back later.
    async fn copy(&mut self, id: &str) -> Option<Kept> {
        let store = self.careless.as_mut()?;
        let pattern = format!("*:s:{id}");
        let keys = redis::cmd("KEYS").arg(pattern).query_async::<Vec<String>>(store).await;
        let key = keys.ok()?.pop()?;
        let bytes = redis::cmd("DUMP").arg(&key).query_async::<Option<Vec<u8>>>(store).await;
        Some(Kept { key, bytes: bytes.ok()?? })
    }

    async fn writes_back(&mut self, kept: &Kept, known: &Known) {
        let op = self.begin(What::Saves, &known.id, &known.user).await;
        let Some(store) = self.careless.as_mut() else { return };
        let mut restore = redis::cmd("RESTORE");
        restore.arg(&kept.key).arg(1_000).arg(&kept.bytes).arg("REPLACE");
        let said = match restore.exec_async(store).await {
            Ok(()) => Said::Live,
            Err(_) => Said::Failed,
        };
        self.end(op, said, NONE).await;
    }

    /// Says so before it is done.
    async fn begin(&mut self, what: What, session: &str, user: &str) -> Op {
        self.by.number += 1;
        let (by, began_ns) = (self.by, now_ns());
        let (session, user, new) = (session.to_owned(), user.to_owned(), NONE.to_owned());
        let op = Op { by, what, began_ns, ended_ns: 0, said: Said::Nothing, session, user, new };
        self.write(&op.to_string()).await;
        op
    }

    async fn end(&mut self, op: Op, said: Said, new: &str) {
        let op = Op { ended_ns: now_ns(), said, new: new.to_owned(), ..op };
        self.write(&op.to_string()).await;
        if said == Said::Failed {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The same, and offers the session that it has made.
    async fn end_with_new(&mut self, op: Op, said: Said, session: &Session) {
        let stored = session.id().zip(session.token()).filter(|_| said == Said::Done);
        let Some((id, token)) = stored else { return self.end(op, said, NONE).await };
        let (id, user) = (id.to_string(), op.user.clone());
        self.end(op, said, &id).await;
        let known = Known { token: token.as_str().to_owned(), id, user };
        self.write(&known.to_string()).await;
    }

    async fn pick(&mut self) -> Option<Known> {
        self.write("pick").await;
        let mut line = String::new();
        self.register.read_line(&mut line).await.expect("a register");
        Known::parse(&line)
    }

    /// The register outlives its workers: where it is gone, so is the test.
    async fn write(&mut self, line: &str) {
        let line = format!("{line}\n");
        self.register.write_all(line.as_bytes()).await.expect("a register");
    }
}

fn said_of<T>(answer: &sinew::Result<T>) -> Said {
    match answer {
        Ok(_) => Said::Done,
        Err(_) => Said::Failed,
    }
}

fn said_of_login(login: &sinew::Result<Login>) -> Said {
    match login {
        Ok(Login::Done) => Said::Done,
        Ok(Login::Gone) => Said::Gone,
        Ok(_) => Said::Refused,
        Err(_) => Said::Failed,
    }
}
