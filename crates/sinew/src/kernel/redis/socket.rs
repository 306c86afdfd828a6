//! A socket to one server: TCP, TLS or Unix, with its options set, and an ear for signs of life.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::target::{Address, HostPort};
#[cfg(feature = "tls")]
use super::tls::Tls;
use crate::kernel::error::{Error, ErrorKind, Result};

/// For connections that no one looks after: subscribers and blocking consumers too.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(5);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(2);
const KEEPALIVE_TIMES: u32 = 3;
/// How long what was sent may stay without an acknowledgement.
const USER_TIMEOUT: Duration = Duration::from_secs(5);

/// Counts what the server has sent, so that its silence can be noticed.
#[derive(Clone, Default)]
pub(super) struct Received(Arc<AtomicU64>);

impl Received {
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connected socket of whatever kind.
pub(super) struct Socket {
    stream: Stream,
    heard: Received,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

/// How to talk over a TCP socket.
#[derive(Clone)]
pub(super) enum Transport {
    Plain,
    #[cfg(feature = "tls")]
    Tls(Tls),
}

impl Socket {
    /// # Errors
    /// `Unavailable`, saying where and why; `Misconfigured` for TLS that will not do.
    pub(super) async fn open(address: &Address, transport: &Transport) -> Result<Self> {
        let stream = match address {
            Address::Unix(path) => {
                let socket = UnixStream::connect(path).await;
                Stream::Unix(socket.map_err(|e| unreachable(address, e))?)
            }
            Address::Tcp(at) => {
                let socket = tcp(at).await.map_err(|e| unreachable(address, e))?;
                match transport {
                    Transport::Plain => Stream::Tcp(socket),
                    #[cfg(feature = "tls")]
                    Transport::Tls(tls) => Stream::Tls(Box::new(tls.wrap(socket, at).await?)),
                }
            }
        };
        Ok(Self { stream, heard: Received::default() })
    }

    pub(super) fn heard(&self) -> Received {
        self.heard.clone()
    }
}

async fn tcp(at: &HostPort) -> io::Result<TcpStream> {
    let socket = TcpStream::connect((at.host.as_str(), at.port)).await?;
    socket.set_nodelay(true)?;
    let options = SockRef::from(&socket);
    options.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE_AFTER)
            .with_interval(KEEPALIVE_EVERY)
            .with_retries(KEEPALIVE_TIMES),
    )?;
    #[cfg(target_os = "linux")]
    options.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(socket)
}

fn unreachable(address: &Address, error: io::Error) -> Error {
    let not_sent = ErrorKind::Unavailable { maybe_applied: false };
    Error::new(not_sent, format!("cannot reach Redis at {address}: {error}")).with_source(error)
}

macro_rules! on_any {
    ($socket:expr, $stream:ident => $call:expr) => {
        match &mut $socket.stream {
            Stream::Tcp($stream) => $call,
            Stream::Unix($stream) => $call,
            #[cfg(feature = "tls")]
            Stream::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = on_any!(self, stream => Pin::new(stream).poll_read(cx, buffer));
        let read = buffer.filled().len() - before;
        if read > 0 {
            self.heard.0.fetch_add(read as u64, Ordering::Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_any!(self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_any!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_any!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
