//! HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tower_dcr::documents::{ClientIdUrl, ClientIdUrlOptions, Fetch, FetchError, FetchRequest};

use crate::site::{HOST, Site, request};

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(40);

const JSON: &str = "Content-Type: application/json\r\n";

/// A response with JSON of this length in `Content-Length`, and this body.
fn response(length: usize, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\n{JSON}Content-Length: {length}\r\n\r\n").as_bytes(), body].concat()
}

/// The body, or the name of the error.
async fn fetch(bytes: impl Into<Vec<u8>>) -> Result<Vec<u8>, &'static str> {
    let site = Site::answering(bytes).await;
    let fetched = site.fetch().await.map(|response| response.into_body().to_vec()).map_err(|error| error.as_str());
    assert_eq!(site.connections(), 1, "one request, whatever the answer");
    fetched
}

#[tokio::test]
async fn the_request_has_these_fields() {
    let site = Site::answering(response(2, b"{}")).await;
    let agent = format!("user-agent: tower-dcr-fetch/{}\r\n", env!("CARGO_PKG_VERSION"));
    let fields = format!(
        "host: {HOST}\r\naccept: application/json\r\naccept-encoding: identity\r\n{agent}connection: close\r\n"
    );
    assert_eq!(site.fetch().await.unwrap().body(), "{}");
    let mut again = request();
    again.etag = Some(HeaderValue::from_static("W/\"1\""));
    site.fetcher().fetch(again).await.unwrap();
    let options = ClientIdUrlOptions { query: true, ports: [8443].into() };
    let url = format!("https://{HOST}:8443/a%7Eb/~c;d=e,f'(g)!$&*+@:?h=i&j=/?");
    // An asterisk is not accepted.
    let url = ClientIdUrl::parse_with(&url.replace('*', ""), &options).unwrap();
    site.fetcher().fetch(FetchRequest::new(url)).await.unwrap();
    assert_eq!(
        site.seen(),
        [
            format!("GET /oauth/client.json HTTP/1.1\r\n{fields}\r\n"),
            format!("GET /oauth/client.json HTTP/1.1\r\n{fields}if-none-match: W/\"1\"\r\n\r\n"),
            format!(
                "GET /a%7Eb/~c;d=e,f'(g)!$&+@:?h=i&j=/? HTTP/1.1\r\n{}\r\n",
                fields.replace(HOST, &format!("{HOST}:8443"))
            ),
        ]
    );
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let other = Site::answering(response(2, b"{}")).await;
    for status in [300, 301, 302, 303, 305, 307, 308] {
        for location in [
            "https://inner.example.com/",
            "http://127.0.0.1/",
            "/other",
            "//inner.example.com/",
            "https://app.example.com/a",
        ] {
            let bytes =
                format!("HTTP/1.1 {status} Moved\r\nLocation: {location}\r\n{JSON}Content-Length: 2\r\n\r\n{{}}");
            let site = Site::answering(bytes).await;
            let fetcher = site.fetcher().danger_map_host("inner.example.com", other.address).unwrap();
            let error = fetcher.fetch(request()).await.unwrap_err();
            assert!(matches!(error, FetchError::Redirect(found) if found == status), "{status} {location}: {error:?}");
            assert_eq!((site.connections(), other.connections()), (1, 0), "{status} {location}");
        }
    }
    // These are for browsers.
    let fields = "Refresh: 0; url=https://inner.example.com/\r\nLocation: https://inner.example.com/\r\n\
                  Alt-Svc: h2=\"inner.example.com:443\"\r\nLink: <https://inner.example.com/>; rel=canonical\r\n";
    let site = Site::answering(format!("HTTP/1.1 200 OK\r\n{fields}{JSON}Content-Length: 2\r\n\r\n{{}}")).await;
    let fetcher = site.fetcher().danger_map_host("inner.example.com", other.address).unwrap();
    for _ in 0..2 {
        assert_eq!(fetcher.fetch(request()).await.unwrap().body(), "{}");
    }
    assert_eq!((site.connections(), other.connections()), (2, 0));
}

#[tokio::test]
async fn a_head_is_checked_before_the_body() {
    let html = "Content-Type: text/html\r\n";
    for (head, error) in [
        (format!("HTTP/1.1 201 Created\r\n{JSON}"), "status"),
        (format!("HTTP/1.1 202 Accepted\r\n{JSON}"), "status"),
        (format!("HTTP/1.1 203 Non-Authoritative\r\n{JSON}"), "status"),
        (format!("HTTP/1.1 204 No Content\r\n{JSON}"), "status"),
        (format!("HTTP/1.1 206 Partial Content\r\n{JSON}Content-Range: bytes 0-1/9\r\n"), "status"),
        (format!("HTTP/1.1 304 Not Modified\r\n{JSON}"), "status"),
        (format!("HTTP/1.1 400 Bad Request\r\n{JSON}"), "status"),
        (format!("HTTP/1.1 404 Not Found\r\n{JSON}"), "gone"),
        (format!("HTTP/1.1 410 Gone\r\n{JSON}"), "gone"),
        (format!("HTTP/1.1 403 Forbidden\r\n{html}"), "status"),
        (format!("HTTP/1.1 500 Internal Server Error\r\n{JSON}"), "status"),
        (format!("HTTP/1.1 503 Service Unavailable\r\n{html}"), "status"),
        (format!("HTTP/1.1 999 Other\r\n{JSON}"), "status"),
        (format!("HTTP/1.1 101 Switching Protocols\r\n{JSON}Connection: upgrade\r\nUpgrade: h2c\r\n"), "status"),
        (format!("HTTP/1.1 200 OK\r\n{html}"), "content_type"),
        ("HTTP/1.1 200 OK\r\n".to_owned(), "content_type"),
        ("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n".to_owned(), "content_type"),
        ("HTTP/1.1 200 OK\r\nContent-Type: application/jsonp\r\n".to_owned(), "content_type"),
        ("HTTP/1.1 200 OK\r\nContent-Type: application/javascript\r\n".to_owned(), "content_type"),
        ("HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-16\r\n".to_owned(), "content_type"),
        (format!("HTTP/1.1 200 OK\r\n{JSON}{html}"), "content_type"),
        (format!("HTTP/1.1 200 OK\r\n{JSON}Content-Encoding: gzip\r\n"), "content_coding"),
        (format!("HTTP/1.1 200 OK\r\n{JSON}Content-Encoding: br\r\n"), "content_coding"),
        (format!("HTTP/1.1 200 OK\r\n{JSON}Content-Encoding: identity, gzip\r\n"), "content_coding"),
        (format!("HTTP/1.1 200 OK\r\n{JSON}Content-Encoding: zstd\r\n"), "content_coding"),
        (format!("HTTP/1.1 200 OK\r\n{JSON}Content-Encoding: deflate, gzip\r\n"), "content_coding"),
        (format!("HTTP/1.1 200 OK\r\n{JSON}Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n"), "content_coding"),
        (format!("HTTP/1.1 200 OK\r\n{JSON}Content-Length: 5121\r\n"), "size"),
        (format!("HTTP/1.1 200 OK\r\n{JSON}Content-Length: 1000000000000\r\n"), "size"),
    ] {
        // The body does not come: the head suffices.
        let bytes: Arc<[u8]> = format!("{head}\r\n").into_bytes().into();
        let site = Site::start(move |mut stream| {
            let bytes = Arc::clone(&bytes);
            async move {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        })
        .await;
        assert_eq!(site.error().await, error, "{head}");
    }
}

#[tokio::test]
async fn json_in_other_words_is_accepted() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Type: application/cimd+json\r\nContent-Length: 2\r\n",
        "HTTP/1.1 200 OK\r\ncontent-type: Application/JSON;charset=\"UTF-8\"\r\ncontent-length: 2\r\n",
        "HTTP/1.1 200 \r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: keep-alive\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: identity\r\n",
        "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n",
        "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: application/json\r\n",
    ] {
        assert_eq!(fetch(format!("{head}\r\n{{}}")).await.unwrap(), b"{}", "{head}");
    }
    let chunked = format!(
        "HTTP/1.1 200 OK\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n1;a=b\r\n{{\r\n1\r\n}}\r\n0\r\nx: y\r\n\r\n"
    );
    assert_eq!(fetch(chunked).await.unwrap(), b"{}");
}

#[tokio::test]
async fn a_known_copy_is_confirmed() {
    let site = Site::answering("HTTP/1.1 304 Not Modified\r\nETag: \"2\"\r\nContent-Length: 9\r\n\r\n").await;
    let mut request = request();
    request.etag = Some(HeaderValue::from_static("\"2\""));
    let response = site.fetcher().fetch(request).await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers()["etag"].as_bytes()), (304, &b"\"2\""[..]));
    assert!(response.body().is_empty());
}

#[tokio::test]
async fn a_head_has_limits() {
    let fields = |number: usize| "X: y\r\n".repeat(number);
    let start = format!("HTTP/1.1 200 OK\r\n{JSON}Content-Length: 2\r\n");
    for (case, head, is_accepted) in [
        ("64 fields", format!("{start}{}", fields(62)), true),
        ("65 fields", format!("{start}{}", fields(63)), false),
        ("10,000 fields", format!("{start}{}", fields(10_000)), false),
        ("a long field", format!("{start}X: {}\r\n", "y".repeat(7 * 1024)), true),
        ("too long a field", format!("{start}X: {}\r\n", "y".repeat(8 * 1024)), false),
        ("too long a name", format!("{start}{}: y\r\n", "x".repeat(64 * 1024)), false),
        ("too long a reason", format!("HTTP/1.1 200 {}\r\n{JSON}Content-Length: 2\r\n", "y".repeat(8 * 1024)), false),
        ("8,193 bytes", format!("{start}X: {}\r\n", "y".repeat(8193 - start.len() - "X: \r\n\r\n".len())), false),
        ("a folded line", format!("{start}X: y\r\n z\r\n"), false),
        ("a folded line with a tab", format!("{start}X: y\r\n\tz\r\n"), false),
        ("space before a colon", format!("{start}X : y\r\n"), false),
        ("no colon", format!("{start}X\r\n"), false),
        ("a NUL", format!("{start}X: \0\r\n"), false),
    ] {
        let fetched = fetch(format!("{head}\r\n{{}}")).await;
        assert_eq!(fetched.map(|_| ()).err(), (!is_accepted).then_some("protocol"), "{case}");
    }
}

/// The first bytes are read alone, so that what follows does not fill the buffer by itself.
#[tokio::test]
async fn a_head_in_parts_has_the_same_limit() {
    for (length, is_accepted) in [(8192, true), (8193, false), (8250, false), (16_000, false)] {
        let site = Site::start(move |mut stream| async move {
            let start = format!("HTTP/1.1 200 OK\r\n{JSON}Content-Length: 2\r\nX: ");
            let rest = format!("{}\r\n\r\n{{}}", "y".repeat(length - start.len() - 4));
            let _ = stream.write_all(start.as_bytes()).await;
            let _ = stream.flush().await;
            sleep(Duration::from_millis(100)).await;
            let _ = stream.write_all(rest.as_bytes()).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
        .await;
        let error = site.fetch().await.map_err(|error| error.as_str()).err();
        assert_eq!(error, (!is_accepted).then_some("protocol"), "{length}");
    }
}

#[tokio::test]
async fn another_protocol_in_tls_is_rejected() {
    for bytes in [
        &b"{}"[..],
        b"\r\n\r\n{}",
        b"<html></html>",
        b"HTTP/2 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/0.9 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        b"ICY 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 20 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        // SETTINGS of HTTP/2.
        &[0, 0, 0, 4, 0, 0, 0, 0, 0],
        b"220 mail.example.com ESMTP\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Type: appl",
    ] {
        assert_eq!(fetch(bytes).await, Err("protocol"), "{}", bytes.escape_ascii());
    }
}

#[tokio::test]
async fn an_ambiguous_length_is_rejected() {
    for lengths in [
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n",
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: 2\r\nContent-Length: 2\r\n",
        "Content-Length: 2, 2\r\n",
        "Content-Length: 2, 3\r\n",
        "Content-Length: +2\r\n",
        "Content-Length: -2\r\n",
        "Content-Length: 0x2\r\n",
        "Content-Length:\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: identity\r\n",
    ] {
        let body = if lengths.contains("hunked") { "2\r\n{}\r\n0\r\n\r\n" } else { "{}" };
        assert_eq!(fetch(format!("HTTP/1.1 200 OK\r\n{JSON}{lengths}\r\n{body}")).await, Err("protocol"), "{lengths}");
    }
    let old = format!("HTTP/1.0 200 OK\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n");
    assert_eq!(fetch(old).await, Err("protocol"));
    // Each side of a not modified one as well.
    let site =
        Site::answering("HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let mut request = request();
    request.etag = Some(HeaderValue::from_static("\"2\""));
    assert_eq!(site.fetcher().fetch(request).await.unwrap_err().as_str(), "protocol");
}

#[tokio::test]
async fn a_body_has_a_limit() {
    for (length, error) in [(0, None), (5119, None), (5120, None), (5121, Some("size")), (50_000, Some("size"))] {
        let body = vec![b' '; length];
        let head = format!("HTTP/1.1 200 OK\r\n{JSON}");
        let chunk = |part: &[u8]| [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat();
        let chunks = |size| body.chunks(size).map(chunk).collect::<Vec<_>>().concat();
        let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
        for bytes in [
            response(length, &body),
            [format!("{head}\r\n").as_bytes(), &body].concat(),
            [chunked.as_bytes(), &chunks(100_000), b"0\r\n\r\n"].concat(),
            [chunked.as_bytes(), &chunks(1000), b"0\r\n\r\n"].concat(),
            [chunked.as_bytes(), &chunks(1), b"0\r\n\r\n"].concat(),
        ] {
            let fetched = fetch(bytes.clone()).await;
            assert_eq!(fetched, error.map_or(Ok(body.clone()), Err), "{length}: {}", bytes[..100].escape_ascii());
        }
    }
    let site = Site::answering(response(2, b"{}")).await;
    for (max_bytes, error) in [(2, None), (1, Some("size")), (0, Some("size"))] {
        let mut request = request();
        request.max_bytes = max_bytes;
        let fetched = site.fetcher().fetch(request).await.map(|_| ()).map_err(|error| error.as_str());
        assert_eq!(fetched.err(), error, "{max_bytes}");
    }
}

#[tokio::test]
async fn a_body_that_ends_early_is_rejected() {
    let chunked = format!("HTTP/1.1 200 OK\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n");
    for bytes in [
        response(3, b"{}"),
        response(3, b""),
        format!("{chunked}3\r\n{{}}").into_bytes(),
        format!("{chunked}2\r\n{{}}\r\n").into_bytes(),
        format!("{chunked}2\r\n{{}}\r\n0\r\n").into_bytes(),
    ] {
        assert_eq!(fetch(bytes.clone()).await, Err("size"), "{}", bytes.escape_ascii());
    }
    for chunks in ["x\r\n{}\r\n0\r\n\r\n", "2\r\n{}0\r\n\r\n", "ffffffffffffffffff\r\n{}", "-2\r\n{}\r\n0\r\n\r\n"] {
        assert!(matches!(fetch(format!("{chunked}{chunks}")).await, Err("protocol" | "size")), "{chunks}");
    }
    // A length that is too short: more is never read.
    assert_eq!(fetch(response(2, b"{}{}")).await.unwrap(), b"{}");
    // Closed by somebody else: TLS has an end of its own.
    let site = Site::start(|mut stream| async move {
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{JSON}\r\n{{}}").as_bytes()).await;
        let _ = stream.flush().await;
        let (mut tcp, _) = stream.into_inner();
        let _ = tcp.shutdown().await;
        let _ = tcp.read_to_end(&mut Vec::new()).await;
    })
    .await;
    assert_eq!(site.error().await, "size");
}

#[tokio::test]
async fn a_flood_ends_by_its_bytes() {
    let chunked = format!("HTTP/1.1 200 OK\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n");
    for (start, flood) in [
        ("", "HTTP/1.1 100 Continue\r\n\r\n".to_owned()),
        ("", "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n".to_owned()),
        ("", format!("HTTP/1.1 102 Processing\r\n{}\r\n", "X: y\r\n".repeat(50))),
        ("HTTP/1.1 200 OK\r\n", "X: y\r\n".to_owned()),
        ("HTTP/1.1 200 OK\r\nX: ", "y".repeat(1000)),
        (&chunked, "1\r\n \r\n".to_owned()),
        (&chunked, format!("1;{}\r\n \r\n", "x".repeat(10))),
        (&format!("{chunked}1;"), "x".repeat(1000)),
        (&format!("{chunked}0\r\n"), "X: y\r\n".to_owned()),
        (&format!("{chunked}0\r\nX: "), "y".repeat(1000)),
        (&chunked, "00000000000000000000".to_owned()),
        (&format!("HTTP/1.1 200 OK\r\n{JSON}\r\n"), " ".repeat(1000)),
    ] {
        let written = Arc::new(AtomicUsize::new(0));
        let (start, flood, writes) = (start.to_owned(), flood.repeat(100), Arc::clone(&written));
        let name = format!("{start:?} {:?}", &flood[..20]);
        let site = Site::start(move |mut stream| {
            let (start, flood, writes) = (start.clone(), flood.clone(), Arc::clone(&writes));
            async move {
                let mut sent = stream.write_all(start.as_bytes()).await;
                while sent.is_ok() {
                    sent = stream.write_all(flood.as_bytes()).await;
                    writes.fetch_add(flood.len(), Ordering::Relaxed);
                }
            }
        })
        .await;
        let error = site.error().await;
        assert!(matches!(error, "protocol" | "size"), "{name}: {error}");
        // The rest was on its way, in the buffers of both sides.
        assert!(written.load(Ordering::Relaxed) < 64 * 1024 * 1024, "{name}");
    }
}

#[tokio::test]
async fn everything_slow_ends() {
    let drips = |start: &'static str, drip: &'static str| async move {
        Site::start(move |mut stream| async move {
            let mut sent = stream.write_all(start.as_bytes()).await;
            while sent.is_ok() {
                sleep(Duration::from_millis(20)).await;
                sent = async { stream.write_all(drip.as_bytes()).await.and(stream.flush().await) }.await;
            }
        })
        .await
    };
    let chunked = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let known = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n";
    for (site, step) in [
        (
            Site::raw(&crate::site::Authority::new().pem, |stream| async move {
                let _open = stream;
                std::future::pending::<()>().await;
            })
            .await,
            "tls",
        ),
        (drips("", "").await, "head"),
        (drips("", "HTTP/1.1 100 Continue\r\n\r\n").await, "head"),
        (drips("HTTP/1.1 200 OK\r\n", "X: y\r\n").await, "head"),
        (drips("HTTP/1.1 200 OK\r\nX: ", "y").await, "head"),
        (drips(known, "").await, "body"),
        (drips(known, " ").await, "body"),
        (drips(chunked, "1\r\n \r\n").await, "body"),
        (drips(chunked, "").await, "body"),
    ] {
        let fetcher = site.fetcher().with_timeout(Duration::from_millis(300)).unwrap();
        let error = timeout(LONG, fetcher.fetch(request())).await.expect("this goes on for ever").unwrap_err();
        assert!(matches!(error, FetchError::Timeout(found) if found == step), "{step}: {error:?}");
    }
}

#[tokio::test]
async fn the_connection_is_closed() {
    let (sends, mut ends) = mpsc::unbounded_channel();
    for bytes in [
        response(2, b"{}"),
        format!(
            "HTTP/1.1 200 OK\r\n{JSON}Content-Length: 2\r\nConnection: keep-alive\r\nKeep-Alive: timeout=60\r\n\r\n{{}}"
        )
        .into(),
        format!("HTTP/1.1 404 Not Found\r\n{JSON}Content-Length: 9\r\n\r\n").into(),
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n".to_vec(),
    ] {
        let (sends, bytes) = (sends.clone(), Arc::<[u8]>::from(bytes));
        let site = Site::start(move |mut stream| {
            let (sends, bytes) = (sends.clone(), Arc::clone(&bytes));
            async move {
                stream.write_all(&bytes).await.unwrap();
                let mut more = Vec::new();
                let _ = stream.read_to_end(&mut more).await;
                sends.send(more).unwrap();
            }
        })
        .await;
        let _ = site.fetch().await;
        // Without a second request.
        assert_eq!(timeout(LONG, ends.recv()).await.expect("the connection stays").unwrap(), b"");
    }
}
