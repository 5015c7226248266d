//! A client opens many idle connections: memory stays bounded, and others are served.
#![cfg(target_os = "linux")]

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::server::start;
use test_support::running::Running;

/// Connects from another address: each address of 127.0.0.0/8 is this machine.
async fn connect(from: &str, to: SocketAddr) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    tokio::time::timeout(Duration::from_secs(5), socket.connect(to)).await.ok()?.ok()
}

/// Opens `count` connections from an address, and sends the bytes `what` on each.
async fn hold(from: &str, to: SocketAddr, count: usize, what: &[u8]) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..count {
        if let Some(mut stream) = connect(from, to).await {
            // The server may have closed it.
            let _closed = stream.write_all(what).await;
            held.push(stream);
        }
    }
    held
}

/// Returns the number of connections that the server still has.
async fn open(held: &[TcpStream]) -> usize {
    tokio::time::sleep(Duration::from_millis(500)).await;
    let is_open = |stream: &&TcpStream| {
        // Only the end of a response matters.
        loop {
            match stream.try_read(&mut [0; 256]) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
            }
        }
    };
    held.iter().filter(is_open).count()
}

/// Returns the resident memory.
fn kibibytes(server: &Running) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

async fn honest_clients_register(server: &Running, day: &str) {
    for number in 0..20 {
        let body = json!({ "client_name": format!("{day} {number}"), "redirect_uris": ["http://127.0.0.1/cb"] });
        let (status, answer) = server.register(&body).await;
        assert_eq!(status, 201, "{day}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_cost_little_and_lock_no_client_out() {
    let server = start(&[]);
    let address: SocketAddr = server.base.strip_prefix("http://").unwrap().parse().unwrap();
    honest_clients_register(&server, "before").await;
    let before = kibibytes(&server);

    let head = b"POST /register HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 16000\r\n";
    let slow_body = [&head[..], b"\r\n{\"client_name\":\""].concat();
    let half_open = hold("127.0.0.2", address, 600, &head[..40]).await;
    let silent = hold("127.0.0.3", address, 600, b"").await;
    let mut slow = hold("127.0.0.4", address, 600, &slow_body).await;
    let http2 = hold("127.0.0.5", address, 600, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    // From a thousand addresses, a few each.
    let mut many = Vec::new();
    for place in 0..250 {
        many.extend(hold(&format!("127.0.1.{place}"), address, 4, &slow_body[..slow_body.len() - 5]).await);
    }
    honest_clients_register(&server, "during").await;
    for held in [&half_open, &silent, &slow] {
        let open = open(held).await;
        assert!(open <= 200, "one address holds {open} connections");
    }
    // The remaining ones send bytes as slowly as possible.
    for _ in 0..5 {
        for stream in slow.iter_mut().chain(&mut many) {
            let _closed = stream.write_all(b"a").await;
        }
    }
    honest_clients_register(&server, "later").await;
    let during = kibibytes(&server);
    println!("{} KiB more with all of them", during.saturating_sub(before));
    assert!(during < before + 64 * 1024, "{before} KiB before, {during} KiB with all of them");

    // The head and the body of a request have time limits.
    for _ in 0..60 {
        if open(&half_open).await + open(&slow).await + open(&many).await == 0 {
            break;
        }
    }
    assert_eq!(open(&half_open).await + open(&slow).await + open(&many).await, 0);
    honest_clients_register(&server, "after").await;
    drop(http2);
}
