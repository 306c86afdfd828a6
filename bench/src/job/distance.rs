//! A way to a server that is farther than it is: replies take so much longer, and none waits for another. That all of it is
//! on the way back, no client can tell.
//!
//! Two threads serve all connections: who has many of them takes no more of the machine than who has few.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};

/// How many pieces of replies are under way on one connection at most.
const PIECES_MAX: usize = 1_024;
const PIECE_LEN_MAX: usize = 64 << 10;

/// Lasts for as long as this, with its connections.
pub struct Distance {
    pub port: u16,
    _lasts: oneshot::Sender<()>,
}

/// What came, when it is to arrive, and its place among what has arrived on its connection.
struct Piece {
    due: Instant,
    bytes: Vec<u8>,
    place: mpsc::OwnedPermit<Vec<u8>>,
}

impl Distance {
    pub fn start(to: u16, by: Duration) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let port = listener.local_addr().expect("an address").port();
        let (lasts, is_over) = oneshot::channel::<()>();
        // It has no more in it than all connections may have under way.
        let (put, pieces) = channel();
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_io().build().expect("a runtime");
            runtime.block_on(async move {
                tokio::select! {
                    () = lead_all(listener, to, by, put) => {}
                    _ = is_over => {}
                }
            });
        });
        // A timer of the runtime is no finer than a millisecond.
        thread::spawn(move || hold_back(&pieces));
        Self { port, _lasts: lasts }
    }
}

async fn lead_all(listener: std::net::TcpListener, to: u16, by: Duration, put: Sender<Piece>) {
    let listener = TcpListener::from_std(listener).expect("a socket");
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(lead(client, to, by, put.clone()));
    }
}

async fn lead(client: TcpStream, to: u16, by: Duration, put: Sender<Piece>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (arrive, arrived) = mpsc::channel(PIECES_MAX);
    tokio::join!(
        ask(from_client, to_server),
        hear(from_server, by, arrive, put),
        answer(to_client, arrived)
    );
}

async fn ask(mut client: OwnedReadHalf, mut server: OwnedWriteHalf) {
    let mut piece = vec![0; PIECE_LEN_MAX];
    while let Ok(len @ 1..) = client.read(&mut piece).await {
        if server.write_all(&piece[..len]).await.is_err() {
            return;
        }
    }
}

async fn hear(
    mut server: OwnedReadHalf,
    by: Duration,
    arrive: mpsc::Sender<Vec<u8>>,
    put: Sender<Piece>,
) {
    let mut piece = vec![0; PIECE_LEN_MAX];
    while let Ok(place) = arrive.clone().reserve_owned().await {
        let Ok(len @ 1..) = server.read(&mut piece).await else { return };
        let (due, bytes) = (Instant::now() + by, piece[..len].to_vec());
        if put.send(Piece { due, bytes, place }).is_err() {
            return;
        }
    }
}

async fn answer(mut client: OwnedWriteHalf, mut arrived: mpsc::Receiver<Vec<u8>>) {
    while let Some(piece) = arrived.recv().await {
        if client.write_all(&piece).await.is_err() {
            return;
        }
    }
}

/// They come in the order in which they are due, since all are held back for as long.
fn hold_back(pieces: &Receiver<Piece>) {
    for Piece { due, bytes, place } in pieces {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        place.send(bytes);
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    const BY: Duration = Duration::from_millis(50);
    const MANY: usize = 200;
    const ROUNDS: usize = 4;

    /// A server that says what it is told.
    async fn echo() -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = client.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        port
    }

    /// Round trips over so many connections, of which all ask at once.
    async fn trips(port: u16, connections: usize) -> Vec<Duration> {
        let mut clients = Vec::new();
        for _ in 0..connections {
            clients.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
        }
        let mut trips = Vec::new();
        for _ in 0..ROUNDS {
            let mut asking: JoinSet<_> = clients.drain(..).map(trip).collect();
            while let Some(asked) = asking.join_next().await {
                let (client, took) = asked.unwrap();
                clients.push(client);
                trips.push(took);
            }
        }
        trips.sort();
        trips
    }

    async fn trip(mut client: TcpStream) -> (TcpStream, Duration) {
        let (began, mut reply) = (Instant::now(), [0; 4]);
        client.write_all(b"PING").await.unwrap();
        client.read_exact(&mut reply).await.unwrap();
        assert_eq!(&reply, b"PING");
        (client, began.elapsed())
    }

    #[tokio::test]
    async fn it_is_as_far_with_many_connections_as_with_one() {
        let distance = Distance::start(echo().await, BY);
        let (one, many) = (trips(distance.port, 1).await, trips(distance.port, MANY).await);
        assert!(one[0] >= BY && many[0] >= BY, "{:?}, {:?}", one[0], many[0]);
        let (of_one, of_many) = (one[one.len() / 2], many[many.len() / 2]);
        // Were one held back after the other, half of them would take a hundred times as long.
        assert!(of_many < of_one + BY * 10, "{of_one:?}, {of_many:?}");
    }

    #[tokio::test]
    async fn who_hangs_up_is_hung_up_on_once_all_has_arrived() {
        let distance = Distance::start(echo().await, BY);
        let mut client = TcpStream::connect(("127.0.0.1", distance.port)).await.unwrap();
        client.write_all(b"PING").await.unwrap();
        client.shutdown().await.unwrap();
        let mut replies = Vec::new();
        client.read_to_end(&mut replies).await.unwrap();
        assert_eq!(replies, b"PING");
        drop(distance);
    }
}
