//! TLS.

use std::sync::{Arc, Mutex};

use rcgen::{DnType, SanType, date_time_ymd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;
use tower_dcr::documents::FetchError;

use crate::site::{Authority, HOST, Identity, Site, read_head, self_signed, server_config};

const DOCUMENT: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

async fn document(mut stream: TlsStream<TcpStream>) {
    read_head(&mut stream).await;
    let _ = stream.write_all(DOCUMENT).await;
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

#[tokio::test]
async fn only_a_valid_certificate_of_the_host_is_accepted() {
    let (authority, other) = (Authority::new(), Authority::new());
    let name = |name: &str| SanType::DnsName(name.try_into().unwrap());
    let no_name = |params: &mut rcgen::CertificateParams| {
        params.subject_alt_names.clear();
        params.distinguished_name.push(DnType::CommonName, HOST);
    };
    let cases: [(&str, Identity, bool); 11] = [
        ("valid", authority.issue(|_| ()), true),
        (
            "any host of the domain",
            authority.issue(|params| params.subject_alt_names = vec![name("*.example.com")]),
            true,
        ),
        ("another host", authority.issue(|params| params.subject_alt_names = vec![name("www.example.com")]), false),
        ("the domain", authority.issue(|params| params.subject_alt_names = vec![name("example.com")]), false),
        ("below the host", authority.issue(|params| params.subject_alt_names = vec![name("*.app.example.com")]), false),
        (
            "its address",
            authority.issue(|params| params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())]),
            false,
        ),
        ("a common name only", authority.issue(no_name), false),
        ("expired", authority.issue(|params| params.not_after = date_time_ymd(2020, 1, 1)), false),
        ("not yet valid", authority.issue(|params| params.not_before = date_time_ymd(4000, 1, 1)), false),
        ("another authority", other.issue(|_| ()), false),
        ("self-signed", self_signed(), false),
    ];
    for (case, identity, is_accepted) in cases {
        let site = Site::tls(&authority.pem, server_config(identity), document).await;
        let fetched = site.fetch().await;
        assert_eq!(
            fetched.as_ref().map_err(FetchError::as_str).err(),
            (!is_accepted).then_some("tls"),
            "{case}: {fetched:?}"
        );
        // A failed handshake is not repeated.
        assert_eq!(site.connections(), 1, "{case}");
    }
}

#[tokio::test]
async fn http_1_1_is_negotiated() {
    let (authority, seen) = (Authority::new(), Arc::new(Mutex::new(Vec::new())));
    let log = Arc::clone(&seen);
    let site = Site::tls(&authority.pem, server_config(authority.issue(|_| ())), move |stream| {
        let (_, connection) = stream.get_ref();
        let name = connection.server_name().map(ToOwned::to_owned);
        log.lock().unwrap().push((connection.alpn_protocol().map(<[u8]>::to_vec), name));
        document(stream)
    })
    .await;
    assert_eq!(site.fetch().await.unwrap().body(), "{}");
    assert_eq!(*seen.lock().unwrap(), [(Some(b"http/1.1".to_vec()), Some(HOST.to_owned()))]);
}

#[tokio::test]
async fn another_protocol_is_rejected() {
    let authority = Authority::new();
    for (protocols, error) in
        [(&[&b"h2"[..]][..], Some("tls")), (&[b"h2", b"acme-tls/1", b"smtp"], Some("tls")), (&[], None)]
    {
        let mut config = server_config(authority.issue(|_| ()));
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let site = Site::tls(&authority.pem, config, document).await;
        assert_eq!(site.fetch().await.map_err(|error| error.as_str()).err(), error, "{protocols:?}");
    }
}

#[tokio::test]
async fn a_fetch_knows_nothing_of_another() {
    let (authority, seen) = (Authority::new(), Arc::new(Mutex::new(Vec::new())));
    let log = Arc::clone(&seen);
    let site = Site::tls(&authority.pem, server_config(authority.issue(|_| ())), move |stream| {
        log.lock().unwrap().push(stream.get_ref().1.handshake_kind());
        document(stream)
    })
    .await;
    let fetcher = site.fetcher();
    for _ in 0..3 {
        tower_dcr::documents::Fetch::fetch(&fetcher, crate::site::request()).await.unwrap();
    }
    assert_eq!(*seen.lock().unwrap(), [Some(rustls::HandshakeKind::Full); 3]);
    assert_eq!(site.connections(), 3);
}

/// A `ServerHello` of this version, with a cipher suite that it has: `TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA`.
fn server_hello(version: [u8; 2]) -> Vec<u8> {
    let body = [&version[..], &[7; 32], &[0], &[0xc0, 0x13], &[0]].concat();
    let length = u8::try_from(body.len()).unwrap();
    [&[22], &version[..], &[0, length + 4, 2, 0, 0, length], &body].concat()
}

#[tokio::test]
async fn an_older_protocol_is_rejected() {
    for version in [[3, 2], [3, 1], [3, 0]] {
        let (sends, mut alerts) = mpsc::unbounded_channel();
        let site = Site::raw(&Authority::new().pem, move |mut stream: TcpStream| {
            let sends = sends.clone();
            async move {
                let mut hello = [0; 5];
                stream.read_exact(&mut hello).await.unwrap();
                let mut rest = vec![0; usize::from(u16::from_be_bytes([hello[3], hello[4]]))];
                stream.read_exact(&mut rest).await.unwrap();
                stream.write_all(&server_hello(version)).await.unwrap();
                let mut alert = Vec::new();
                let _ = stream.read_to_end(&mut alert).await;
                sends.send(alert).unwrap();
            }
        })
        .await;
        assert_eq!(site.error().await, "tls");
        let alert = alerts.recv().await.unwrap();
        // A fatal alert (2), `protocol_version` (70).
        assert!(alert.ends_with(&[2, 70]), "{version:?}: {alert:?}");
        // No second one with an older version.
        assert_eq!(site.connections(), 1);
    }
}

#[tokio::test]
async fn other_protocols_on_the_port_are_rejected() {
    for (bytes, starts) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"[..], false),
        (b"220 mail.example.com ESMTP\r\n", true),
        (b"-ERR unknown command\r\n", false),
        (&[0; 8 * 1024], true),
        (&[0xff; 8 * 1024], true),
        // A record that is longer than records are.
        (&[22, 3, 3, 0xff, 0xff, 2, 0, 0, 0], false),
        (b"", false),
    ] {
        let site = Site::raw(&Authority::new().pem, move |mut stream: TcpStream| async move {
            if !starts {
                let _ = stream.read(&mut [0; 1024]).await;
            }
            let _ = stream.write_all(bytes).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
        .await;
        assert_eq!(site.error().await, "tls");
        assert_eq!(site.connections(), 1);
    }
}

#[tokio::test]
async fn a_closed_port_is_no_connection() {
    let site = Site::raw(&Authority::new().pem, |stream| async { drop(stream) }).await;
    assert_eq!(site.closed().await.error().await, "connect");
}
