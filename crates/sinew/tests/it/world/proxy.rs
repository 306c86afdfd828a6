//! A TCP proxy before a server: it cuts, delays, halves, black-holes and half-opens.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;

/// What happens to what passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Pass,
    /// New connections are closed at once.
    Refuse,
    Delay(Duration),
    /// Nothing arrives, in either direction, and no one is told.
    BlackHole,
    /// Requests arrive, replies do not.
    LoseReplies,
    /// Half of the next reply arrives, then the connection is cut.
    HalveNextReply,
    /// After so many replies the next does not arrive, and the connection is cut.
    CutAfterReplies(u32),
}

#[derive(Clone, Copy, Debug)]
struct State {
    rule: Rule,
    /// Where new connections lead.
    to: u16,
    /// Connections with lower numbers are closed.
    cut_below: u64,
    /// Connections with lower numbers stay open, and nothing arrives.
    hole_below: u64,
}

pub struct Proxy {
    pub port: u16,
    state: Arc<watch::Sender<State>>,
    next: Arc<AtomicU64>,
}

impl Proxy {
    /// Starts a proxy before a port of this machine. It ends with this handle.
    pub fn start(to: u16) -> Self {
        Self::start_from("127.0.0.1", to)
    }

    /// The same, where the server sees the calls come from another address.
    pub fn start_from(source: &'static str, to: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket option");
        let port = listener.local_addr().expect("an address").port();
        let state = State { rule: Rule::Pass, to, cut_below: 0, hole_below: 0 };
        let state = Arc::new(watch::Sender::new(state));
        let next = Arc::new(AtomicU64::new(0));
        let (told, numbers) = (Arc::clone(&state), Arc::clone(&next));
        // A runtime of its own: what it does to connections must not wait for the test's tasks.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(accept(listener, source, told, numbers));
        });
        Self { port, state, next }
    }

    /// Everything passes. What was swallowed before stays lost, with its connections.
    pub fn pass(&self) {
        self.set(Rule::Pass);
    }

    /// Closes every connection. New ones lead to another port.
    pub fn lead_to(&self, port: u16) {
        self.state.send_modify(|state| state.to = port);
        self.cut();
    }

    /// Closes every connection. New ones pass.
    pub fn cut(&self) {
        let next = self.next.load(Ordering::SeqCst);
        self.state.send_modify(|state| state.cut_below = next);
    }

    /// Closes every connection, and new ones at once.
    pub fn refuse(&self) {
        self.set(Rule::Refuse);
        self.cut();
    }

    pub fn delay(&self, by: Duration) {
        self.set(Rule::Delay(by));
    }

    pub fn black_hole(&self) {
        self.set(Rule::BlackHole);
    }

    /// Connections that are there lead nowhere; new ones pass.
    pub fn half_open(&self) {
        let next = self.next.load(Ordering::SeqCst);
        self.state.send_modify(|state| state.hole_below = next);
    }

    pub fn lose_replies(&self) {
        self.set(Rule::LoseReplies);
    }

    pub fn halve_next_reply(&self) {
        self.set(Rule::HalveNextReply);
    }

    pub fn cut_at_next_reply(&self) {
        self.cut_after_replies(0);
    }

    pub fn cut_after_replies(&self, count: u32) {
        self.set(Rule::CutAfterReplies(count));
    }

    /// How many connections there were so far.
    pub fn connections(&self) -> u64 {
        self.next.load(Ordering::SeqCst)
    }

    fn set(&self, rule: Rule) {
        let next = self.next.load(Ordering::SeqCst);
        self.state.send_modify(|state| {
            if matches!(state.rule, Rule::BlackHole | Rule::LoseReplies) {
                state.hole_below = next;
            }
            state.rule = rule;
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Its task sees that no one holds the other end.
        self.state.send_modify(|state| state.cut_below = u64::MAX);
    }
}

async fn accept(
    listener: TcpListener,
    source: &'static str,
    state: Arc<watch::Sender<State>>,
    next: Arc<AtomicU64>,
) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    let mut ended = state.subscribe();
    let over = ended.wait_for(|state| state.cut_below == u64::MAX);
    let accepting = async {
        while let Ok((client, _)) = listener.accept().await {
            let number = next.fetch_add(1, Ordering::SeqCst);
            if state.borrow().rule == Rule::Refuse {
                continue;
            }
            let to = state.borrow().to;
            tokio::spawn(relay(client, source, to, number, Arc::clone(&state)));
        }
    };
    tokio::select! {
        () = accepting => {}
        _ = over => {}
    }
}

async fn relay(
    client: TcpStream,
    source: &str,
    to: u16,
    number: u64,
    state: Arc<watch::Sender<State>>,
) {
    let connect = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(source.parse().expect("an address"), 0))?;
        socket.connect(SocketAddr::from(([127, 0, 0, 1], to))).await
    };
    let Ok(server) = connect.await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let mut cut = state.subscribe();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::select! {
        () = copy(&mut from_client, &mut to_server, false, number, &state) => {}
        () = copy(&mut from_server, &mut to_client, true, number, &state) => {}
        _ = cut.wait_for(|state| state.cut_below > number) => {}
    }
}

async fn copy(
    from: &mut tokio::net::tcp::OwnedReadHalf,
    to: &mut tokio::net::tcp::OwnedWriteHalf,
    is_reply: bool,
    number: u64,
    state: &watch::Sender<State>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        let now = *state.borrow();
        let leads_nowhere = now.hole_below > number || now.rule == Rule::BlackHole;
        if read == 0 {
            if leads_nowhere {
                // Not even the end arrives.
                std::future::pending::<()>().await;
            }
            return;
        }
        if leads_nowhere {
            continue;
        }
        match now.rule {
            Rule::Delay(by) => tokio::time::sleep(by).await,
            Rule::LoseReplies if is_reply => continue,
            Rule::HalveNextReply if is_reply => {
                let _ = to.write_all(&buffer[..read / 2]).await;
                state.send_modify(|state| state.rule = Rule::Pass);
                return;
            }
            Rule::CutAfterReplies(left) if is_reply && left > 0 => {
                state.send_modify(|state| state.rule = Rule::CutAfterReplies(left - 1));
            }
            Rule::CutAfterReplies(_) if is_reply => {
                state.send_modify(|state| state.rule = Rule::Pass);
                return;
            }
            _ => {}
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
