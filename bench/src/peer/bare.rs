//! The client that the link itself is built on: the least that a job needs.

use redis::aio::{MultiplexedConnection, SendError};
use redis::caching::CacheConfig;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, IntoConnectionInfo, PushInfo, PushKind, RedisResult};

pub async fn raw_connection(url: &str) -> MultiplexedConnection {
    connection(url, AsyncConnectionConfig::new()).await.expect("a connection")
}

/// One that keeps the replies of the server, undecoded, until the server tells of a change.
pub async fn caching_connection(url: &str) -> RedisResult<MultiplexedConnection> {
    connection(url, AsyncConnectionConfig::new().set_cache_config(CacheConfig::new())).await
}

/// One to which the server tells of every change of what was read on it, and nothing else.
pub async fn tracking_connection(
    url: &str,
    changed: impl Fn() + Send + Sync + 'static,
) -> MultiplexedConnection {
    let hear = move |push: PushInfo| {
        if push.kind == PushKind::Invalidate {
            changed();
        }
        Ok::<(), SendError>(())
    };
    let config = AsyncConnectionConfig::new().set_push_sender(hear);
    let mut connection = connection(url, config).await.expect("a connection");
    let tracking = redis::cmd("CLIENT").arg("TRACKING").arg("ON").exec_async(&mut connection).await;
    tracking.expect("a server that tells of changes");
    connection
}

/// With the same socket and protocol as ours: by default the client leaves Nagle's delay on.
async fn connection(
    url: &str,
    config: AsyncConnectionConfig,
) -> RedisResult<MultiplexedConnection> {
    client(url)?.get_multiplexed_async_connection_with_config(&config).await
}

pub fn client(url: &str) -> RedisResult<redis::Client> {
    let info = format!("{url}?protocol=resp3").into_connection_info()?;
    let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
    redis::Client::open(info)
}
