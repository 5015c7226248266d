//! Connections to a real Redis, quick and slow ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::databases;

pub(crate) use crate::databases::Redis;

/// `None` if there is no `redis-server` here and tests may skip.
pub(crate) fn start() -> Option<Redis> {
    databases::redis(&[])
}

/// Connections to a server, and single commands.
pub(crate) trait Connect {
    async fn manager(&self) -> ConnectionManager;
    async fn connection(&self) -> MultiplexedConnection;
    async fn command(&self, words: &[&str]) -> redis::Value;
}

impl Connect for Redis {
    async fn manager(&self) -> ConnectionManager {
        manager(self.port()).await
    }

    async fn connection(&self) -> MultiplexedConnection {
        connection(self.port()).await
    }

    async fn command(&self, words: &[&str]) -> redis::Value {
        let mut command = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| _ = command.arg(*word));
        command.query_async(&mut self.connection().await).await.unwrap()
    }
}

fn client(port: u16) -> redis::Client {
    redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap()
}

pub(crate) async fn connection(port: u16) -> MultiplexedConnection {
    client(port).get_multiplexed_async_connection().await.unwrap()
}

/// A connection as a server has it, which connects again by itself.
pub(crate) async fn manager(port: u16) -> ConnectionManager {
    let config = ConnectionManagerConfig::new().set_max_delay(Duration::from_millis(500));
    client(port).get_connection_manager_with_config(config).await.unwrap()
}

/// A way to a server on which everything can take longer.
#[derive(Clone)]
pub(crate) struct Way {
    port: u16,
    delay_ms: Arc<AtomicU64>,
}

impl Way {
    pub(crate) async fn to(server: u16) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let way = Self { port: listener.local_addr().unwrap().port(), delay_ms: Arc::default() };
        let delay_ms = Arc::clone(&way.delay_ms);
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                let Ok(to) = TcpStream::connect(("127.0.0.1", server)).await else { continue };
                let ((from_read, from_write), (to_read, to_write)) = (from.into_split(), to.into_split());
                tokio::spawn(carry(from_read, to_write, Arc::default()));
                tokio::spawn(carry(to_read, from_write, Arc::clone(&delay_ms)));
            }
        });
        way
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From now on answers take so much longer.
    pub(crate) fn set_delay(&self, delay: Duration) {
        self.delay_ms.store(u64::try_from(delay.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

/// Keeps the order, and holds nothing up but by the delay.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay_ms: Arc<AtomicU64>) {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel::<(tokio::time::Instant, Vec<u8>)>();
    tokio::spawn(async move {
        while let Some((due, bytes)) = receiver.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count) = from.read(&mut buffer).await {
        let due = tokio::time::Instant::now() + Duration::from_millis(delay_ms.load(Ordering::SeqCst));
        if count == 0 || sender.send((due, buffer[..count].to_vec())).is_err() {
            return;
        }
    }
}

/// Returns the number of calls of a command.
pub(crate) async fn calls(connection: &mut MultiplexedConnection, command: &str) -> u64 {
    let info: String = redis::cmd("INFO").arg("commandstats").query_async(connection).await.unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}
