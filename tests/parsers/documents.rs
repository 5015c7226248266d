//! The guard, as a layer and in the proxy: what a parser reads of a registration is the document that was judged.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use axum::Router;
use axum::routing::any;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, header};
use serde_json::Value;
use tower::Layer;

use crate::parser::Parser;
use crate::recorder::{Arrived, Recorder, send_all, serve};
use crate::running::{ANY_PORT, Running};

struct Row {
    name: String,
    request: Request<Bytes>,
    /// The one of [`DOCUMENTS`] that is in its body; `None` where no document belongs there.
    document: Option<usize>,
    /// Has to pass.
    honest: bool,
    /// Headers of the connection, or of the application itself.
    only_behind_proxy: bool,
}

/// Documents that say something else to who decodes them otherwise.
const DOCUMENTS: [&str; 4] = [
    r#"{"client_name":"App","redirect_uris":["https://good.example.com/cb"]}"#,
    // U+00E9 is two characters of ISO 8859-1.
    r#"{"client_name":"Café ☕","redirect_uris":["https://good.example.com/cb"]}"#,
    r#"{"client_name":"App","redirect_uris":["https://good.example.com/cb"],"software_version":"x+ACI-,+ACI-redirect_uris+ACI-:+AFsAIg-https://evil.example.net/cb+ACIAXQ-,+ACI-y+ACI-:+ACI-"}"#,
    r#"{"client_name":"App","redirect_uris":["https://good.example.com/cb"],"software_version":"x&client_name=Claude&redirect_uris[]=https://evil.example.net/cb&_method=DELETE&skip_consent=true&z="}"#,
];

const JSON: &str = "application/json";

struct Rows(Vec<Row>);

impl Rows {
    /// A row with each document.
    fn add(&mut self, method: &str, target: &str, headers: &[(&str, &str)]) -> &mut [Row] {
        let before = self.0.len();
        for (number, document) in DOCUMENTS.iter().enumerate() {
            self.one(method, target, headers, document.as_bytes().to_vec(), Some(number));
        }
        &mut self.0[before..]
    }

    fn one(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: Vec<u8>, document: Option<usize>) {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            request = request.header(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let name = format!("{method} {target} {headers:?} {}", String::from_utf8_lossy(&body));
        let request = request.body(Bytes::from(body)).unwrap();
        self.0.push(Row { name, request, document, honest: false, only_behind_proxy: false });
    }
}

fn rows() -> Vec<Row> {
    let mut rows = Rows(Vec::new());
    // Each document as it should be sent comes first: what arrives then is what all others are compared with.
    for media_type in [JSON, "application/json; charset=utf-8", "Application/JSON;charset=\"UTF-8\""] {
        rows.add("POST", "/register", &[("content-type", media_type)]).iter_mut().for_each(|row| row.honest = true);
    }
    for more in
        [("accept-encoding", "gzip, br"), ("connection", "keep-alive"), ("connection", "close"), ("accept", "*/*")]
    {
        let headers = [("content-type", JSON), more];
        rows.add("POST", "/register", &headers).iter_mut().for_each(|row| row.honest = true);
    }
    for media_type in [
        "",
        "application/json; charset=utf-7",
        "application/json; charset =utf-7",
        "application/json; charset\t=\tutf-7",
        "application/json; charset*=utf-7''x",
        "application/json; charset*0=utf-7",
        "application/json;charset='utf-7'",
        "application/json; x=\"; charset=utf-7; y=\"",
        "application/json; charset=utf-8; charset=utf-7",
        "application/json; charset=latin1",
        "application/json; charset=utf-16",
        "application/json;;charset=utf-7",
        "application/json charset=utf-7",
        "application/json, text/plain",
        "application/vnd.x+json; charset=utf-7",
        "text/json",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; profile=application/x-www-form-urlencoded",
        "application/x-www-form-urlencoded; x=application/json",
        "application/json\u{b}; charset=utf-7",
        "application/json; version=1",
    ] {
        if HeaderValue::from_bytes(media_type.as_bytes()).is_ok() {
            rows.add("POST", "/register", &[("content-type", media_type)]);
            rows.add("PUT", "/register/c", &[("content-type", media_type)]);
        }
    }
    rows.add("POST", "/register", &[]);
    rows.add("POST", "/register", &[("content-type", JSON), ("content-type", "application/x-www-form-urlencoded")]);
    rows.add("POST", "/register", &[("content-type", "application/x-www-form-urlencoded"), ("content-type", JSON)]);
    for more in [
        ("content-encoding", "identity"),
        ("content-encoding", "gzip"),
        ("content-encoding", "utf-7"),
        ("content-md5", "x"),
        ("digest", "sha-256=x"),
        ("content-digest", "sha-256=:x:"),
        ("repr-digest", "sha-256=:x:"),
        ("signature", "a=:x:"),
        ("signature-input", "a=()"),
        ("range", "bytes=0-1"),
        ("content-range", "bytes 0-1/9"),
        ("if-range", "\"x\""),
        ("content-language", "en"),
        ("content-location", "/x"),
        ("trailer", "x"),
        ("content-disposition", "attachment"),
        ("content-transfer-encoding", "base64"),
        ("expect", "100-continue"),
        ("te", "trailers"),
    ] {
        rows.add("POST", "/register", &[("content-type", JSON), more]);
    }
    for more in [
        ("connection", "content-type"),
        ("connection", "close, Content-Type"),
        ("connection", "content-length, content-type"),
        ("connection", "host"),
        ("connection", "x-row, content-type"),
        ("keep-alive", "content-type"),
        ("proxy-connection", "content-type"),
        ("x_http_method_override", "DELETE"),
        ("x-http-method-override", "DELETE"),
        ("x-http-method", "DELETE"),
        ("x-method-override", "PUT"),
        ("content_type", "application/x-www-form-urlencoded"),
        ("x-original-method", "DELETE"),
    ] {
        rows.add("POST", "/register", &[("content-type", JSON), more])
            .iter_mut()
            .for_each(|row| row.only_behind_proxy = true);
    }
    // A server may tell its tenants apart by a query, but not what is registered.
    rows.add("POST", "/register?tenant=a", &[("content-type", JSON)]).iter_mut().for_each(|row| row.honest = true);
    for query in [
        "redirect_uris[]=https://evil.example.net/cb",
        "client_name=Claude",
        "_method=PUT",
        "a;client_name=Claude",
        "client.name=Claude",
    ] {
        rows.add("POST", &format!("/register?{query}"), &[("content-type", JSON)]);
    }
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "PATCH", "PUT", "QUERY", "post", "REGISTER"] {
        for target in ["/register", "/register/c"] {
            for (media_type, body) in
                [(JSON, DOCUMENTS[0]), ("application/x-www-form-urlencoded", "client_name=Claude")]
            {
                rows.one(method, target, &[("content-type", media_type)], body.into(), None);
            }
        }
    }
    let text = DOCUMENTS[0];
    for body in [
        [b"\xEF\xBB\xBF", text.as_bytes()].concat(),
        text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        text.replace("{\"", "+AHsAIg-").into_bytes(),
        [text.as_bytes(), b"\0"].concat(),
        [text.as_bytes(), text.as_bytes()].concat(),
        text.replace("App", "A\\u0000p").into_bytes(),
        b"client_name=Claude&redirect_uris[]=https://evil.example.net/cb".to_vec(),
        b"--b\r\nContent-Disposition: form-data; name=\"client_name\"\r\n\r\nClaude\r\n--b--\r\n".to_vec(),
    ] {
        for media_type in [
            JSON,
            "application/json; charset=utf-16",
            "multipart/form-data; boundary=b",
            "application/x-www-form-urlencoded",
        ] {
            rows.one("POST", "/register", &[("content-type", media_type)], body.clone(), None);
        }
    }
    rows.0
}

/// Headers that say something of another body than the one that was judged, or ask for another answer than one that can be
/// read.
const STALE: [&str; 19] = [
    "accept-encoding",
    "content-digest",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-location",
    "content-md5",
    "content-range",
    "content-transfer-encoding",
    "digest",
    "expect",
    "if-range",
    "range",
    "repr-digest",
    "signature",
    "signature-input",
    "trailer",
    "transfer-encoding",
    "want-content-digest",
];

/// Members that a handler which merges parameters could read from outside of the document.
fn parameters(read: &Value) -> BTreeSet<String> {
    let sources = ["query", "form", "merged"].into_iter().filter_map(|source| read[source].as_object());
    sources.flatten().map(|(name, _)| name.clone()).filter(|name| name != "tenant").collect()
}

fn faults(row: &Row, arrived: &Arrived, plain: &HashMap<usize, Bytes>) -> Vec<String> {
    let mut faults = Vec::new();
    let sent = row.request.method().as_str();
    if arrived.read.is_object() && arrived.read["method"] != sent || arrived.method != sent {
        faults.push(format!("method: {}", arrived.read["method"]));
    }
    if !matches!(sent, "POST" | "PUT") {
        if !arrived.body.is_empty() || arrived.read["length"].as_u64().unwrap_or(0) > 0 {
            faults.push(format!("a body of {} bytes", arrived.body.len()));
        }
        return faults;
    }
    if arrived.media_types() != [JSON] {
        faults.push(format!("media type: {:?}", arrived.media_types()));
    }
    let lengths: Vec<_> = arrived.headers.get_all(header::CONTENT_LENGTH).iter().collect();
    if lengths != [&arrived.body.len().to_string()] {
        faults.push(format!("length: {lengths:?}"));
    }
    let stale: Vec<_> = STALE.into_iter().filter(|name| arrived.headers.contains_key(*name)).collect();
    if !stale.is_empty() {
        faults.push(format!("headers: {stale:?}"));
    }
    let judged: Value = serde_json::from_slice(&arrived.body).unwrap_or_default();
    if !judged.is_object() || arrived.read["json"] != judged {
        faults.push(format!("reads {}", arrived.read["json"]));
    }
    if row.document.is_some_and(|document| plain.get(&document).is_some_and(|plain| *plain != arrived.body)) {
        faults.push(format!("another document: {judged}"));
    }
    let parameters = parameters(&arrived.read);
    if !parameters.is_empty() {
        faults.push(format!("parameters: {parameters:?}"));
    }
    faults
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_read_the_evaluated_document() {
    let rows = rows();
    let mut wrong = BTreeMap::<String, BTreeSet<String>>::new();
    for parser in Parser::all().await {
        let layer = {
            let recorder = Recorder::new(&parser.running.base);
            let guard = tower_dcr::mcp().without_rate_limits();
            let guarded = guard.layer(any(Recorder::forward).with_state::<()>(recorder.clone()));
            let app =
                Router::new().route_service("/register", guarded.clone()).route_service("/register/{id}", guarded);
            ("layer", recorder, serve(app).await, None)
        };
        let proxy = {
            let recorder = Recorder::new(&parser.running.base);
            let upstream = serve(Router::new().fallback(any(Recorder::forward)).with_state(recorder.clone())).await;
            let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/../clients/unlimited.toml");
            let running = Running::start(
                "dcr",
                &[
                    "proxy",
                    "--upstream",
                    &upstream,
                    "--listen",
                    ANY_PORT,
                    "--register-path",
                    "/register",
                    "--policy",
                    policy,
                ],
            );
            ("proxy", recorder, running.base.clone(), Some(running))
        };
        for (way, recorder, base, _running) in [layer, proxy] {
            let statuses = send_all(&base, rows.iter().map(|row| row.request.clone())).await;
            let arrived = recorder.arrived();
            let plain: HashMap<usize, Bytes> =
                (0..DOCUMENTS.len()).filter_map(|number| Some((number, arrived.get(&number)?.body.clone()))).collect();
            let (mut passed, mut honest) = (0, 0);
            for (number, row) in rows.iter().enumerate() {
                let mut found = Vec::new();
                if row.honest {
                    honest += 1;
                    match arrived.get(&number) {
                        Some(_) => passed += 1,
                        None => found.push(format!("does not pass: {}", statuses[number])),
                    }
                }
                if !row.only_behind_proxy || way == "proxy" {
                    found.extend(arrived.get(&number).into_iter().flat_map(|arrived| faults(row, arrived, &plain)));
                }
                for fault in found {
                    wrong
                        .entry(format!("{} → {fault}", row.name))
                        .or_default()
                        .insert(format!("{way}, {}", parser.name));
                }
            }
            println!(
                "{}, {way}: {} rows, {} arrived, {passed} of {honest} honest",
                parser.name,
                rows.len(),
                arrived.len()
            );
        }
    }
    let wrong: Vec<String> = wrong.into_iter().map(|(fault, ways)| format!("{fault} ({ways:?})")).collect();
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}
