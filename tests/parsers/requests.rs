//! Requests that name a client, a redirect URI or a grant in every way that some server reads.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Request, header};

pub(crate) const GOOD: &str = "good-client";
pub(crate) const REVOKED: &str = "revoked-client";
pub(crate) const GOOD_URI: &str = "https://good.example.com/cb";
pub(crate) const EVIL_URI: &str = "https://evil.example.net/cb";
pub(crate) const ANONYMOUS_GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) request: Request<Bytes>,
    pub(crate) owed: Owed,
}

/// The expected result of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owed {
    /// It is read as it was judged, or does not pass.
    OneReading,
    /// It passes, and [`GOOD`] is read.
    Client,
    /// It passes, and names no client.
    Nobody,
}

fn request(method: &str, target: &str, types: &[&str], body: impl Into<Bytes>) -> Option<Request<Bytes>> {
    let mut request = Request::builder().method(method).uri(target);
    for media_type in types {
        request = request.header(header::CONTENT_TYPE, HeaderValue::from_bytes(media_type.as_bytes()).ok()?);
    }
    request.body(body.into()).ok()
}

#[derive(Default)]
struct Rows(Vec<Row>);

impl Rows {
    fn add(&mut self, name: impl Into<String>, method: &str, target: &str, types: &[&str], body: impl Into<Bytes>) {
        // Requests that no HTTP library sends need a socket.
        if let Some(request) = request(method, target, types, body) {
            self.0.push(Row { name: name.into(), request, owed: Owed::OneReading });
        }
    }

    fn with_header(&mut self, name: header::HeaderName, value: &[u8]) {
        let row = self.0.last_mut().unwrap();
        row.request.headers_mut().append(name, HeaderValue::from_bytes(value).unwrap());
    }

    fn owe(&mut self, owed: Owed) {
        self.0.last_mut().unwrap().owed = owed;
    }
}

/// Spellings of a name with an underscore in it, percent-encoded as in a query. The first is the right one.
fn spellings(name: &str) -> Vec<String> {
    let (first, last) = name.split_once('_').unwrap();
    let initial = &name[..1];
    let (rest, code) = (&name[1..], name.as_bytes()[0]);
    let fullwidth = char::from_u32(u32::from(code) - 0x21 + 0xFF01).unwrap();
    vec![
        name.to_owned(),
        format!("{first}%5F{last}"),
        format!("%{code:02x}{rest}"),
        name.to_uppercase(),
        format!("{}{rest}", initial.to_uppercase()),
        format!("{first}.{last}"),
        format!("{first}%2E{last}"),
        format!("{first}+{last}"),
        format!("{first}%20{last}"),
        format!("{first}[{last}"),
        format!("{first}%5B{last}"),
        format!("{first}[{last}]"),
        format!("{first}-{last}"),
        format!("{first}%00{last}"),
        format!("{first}%C2%A0{last}"),
        format!("{first}%EF%BC%BF{last}"),
        format!("{first}%c1%9f{last}"),
        format!("{first}%2_{last}"),
        format!("{first}_%u{:04x}{}", last.as_bytes()[0], &last[1..]),
        format!("%u{code:04x}{rest}"),
        format!("{}{rest}", encode(&fullwidth.to_string())),
        format!("{name}[]"),
        format!("{name}%5B%5D"),
        format!("{name}[0]"),
        format!("{name}[a][b]"),
        format!("{name}["),
        format!("{name}]"),
        format!("{name}."),
        format!("{name}.x"),
        format!("{name}%00"),
        format!("{name}%00x"),
        format!("{name}%0A"),
        format!("{name}%20"),
        format!("{name}+"),
        format!("{name}%"),
        format!("{name}%FF"),
        format!("{name}%E2%80%8B"),
        format!("+{name}"),
        format!("%20{name}"),
        format!("%09{name}"),
        format!("%0D%0A{name}"),
        format!("%00{name}"),
        format!("%C2%A0{name}"),
        format!("%EF%BB%BF{name}"),
        format!("a;{name}"),
        format!(";{name}"),
        format!("a%3B{name}"),
        format!("a=b;{name}"),
        format!("a=b;+{name}"),
        format!("a%26{name}"),
        format!("&{name}"),
        format!("?{name}"),
        format!("amp;{name}"),
        format!("{name}=&{name}"),
        format!("[{name}]"),
        format!("x[{name}]"),
    ]
}

/// The escapes of a query undone, by one who leaves alone what is none.
fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let spaces: Vec<u8> = bytes.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    percent_encoding::percent_decode(&spaces).collect()
}

fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn multipart(parts: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (disposition, value) in parts {
        body.extend_from_slice(b"--b\r\nContent-Disposition: form-data; ");
        body.extend_from_slice(disposition.as_bytes());
        body.extend_from_slice(format!("\r\n\r\n{value}\r\n").as_bytes());
    }
    body.extend_from_slice(b"--b--\r\n");
    body
}

const REST: &str = "grant_type=refresh_token&refresh_token=r";

/// Each spelling of `client_id`, in each place, alone and beside one that is spelled well.
fn names(rows: &mut Rows) {
    for name in spellings("client_id") {
        let (bad, good) = (format!("{name}={REVOKED}"), format!("client_id={GOOD}"));
        let mut places = vec![
            ("alone", bad.clone()),
            ("after a good one", format!("{good}&{bad}")),
            ("before a good one", format!("{bad}&{good}")),
        ];
        if name == "client_id" {
            places.push(("good twice", format!("{good}&{good}")));
        }
        for (place, pair) in places {
            let label = format!("{pair} ({place})");
            rows.add(format!("form: {label}"), "POST", "/token", &[FORM], format!("{REST}&{pair}"));
            rows.add(format!("query: {label}"), "GET", &format!("/authorize?response_type=code&{pair}"), &[], "");
            rows.add(format!("pushed: {label}"), "POST", "/par", &[FORM], format!("response_type=code&{pair}"));
            rows.add(format!("text: {label}"), "POST", "/token", &["text/plain"], format!("{REST}&{pair}"));
        }
        rows.add(
            format!("form {good}, query {bad}"),
            "POST",
            &format!("/token?{bad}"),
            &[FORM],
            format!("{REST}&{good}"),
        );
        rows.add(
            format!("query {good}, form {bad}"),
            "POST",
            &format!("/token?{good}"),
            &[FORM],
            format!("{REST}&{bad}"),
        );
        let spelled = String::from_utf8_lossy(&decode(&name)).into_owned();
        let [bad, good] = [(spelled.as_str(), REVOKED), ("client_id", GOOD)]
            .map(|(name, value)| format!("{}:{}", serde_json::json!(name), serde_json::json!(value)));
        for members in [bad.clone(), format!("{good},{bad}"), format!("{bad},{good}")] {
            let body = format!("{{\"grant_type\":\"refresh_token\",{members}}}");
            rows.add(format!("JSON: {members}"), "POST", "/token", &[JSON], body);
        }
        if !spelled.contains(['"', '\r', '\n', '\0']) {
            let (bad, good) = (format!("name=\"{spelled}\""), "name=\"client_id\"");
            for parts in
                [&[(bad.as_str(), REVOKED)][..], &[(good, GOOD), (&bad, REVOKED)], &[(&bad, REVOKED), (good, GOOD)]]
            {
                let label = format!("multipart: {parts:?}");
                rows.add(label, "POST", "/token", &["multipart/form-data; boundary=b"], multipart(parts));
            }
        }
    }
    for disposition in
        ["name=client_id", "name*=utf-8''client_id", "name=\"client_id\"; filename=\"x\"", "NAME=\"client_id\""]
    {
        let body = multipart(&[(disposition, REVOKED)]);
        rows.add(format!("multipart: {disposition}"), "POST", "/token", &["multipart/form-data; boundary=b"], body);
    }
    for (label, body) in [
        ("an array", r#"{"client_id":["revoked-client"]}"#),
        ("an object", r#"{"client_id":{"0":"revoked-client"}}"#),
        ("escaped", r#"{"client\u005fid":"revoked-client"}"#),
        ("good, then an array", r#"{"client_id":"good-client","client_id":["revoked-client"]}"#),
        ("a prototype", r#"{"client_id":"good-client","__proto__":{"client_id":"revoked-client"}}"#),
        ("in an array", r#"[{"client_id":"revoked-client"}]"#),
        ("a comment", "{\"client_id\":\"good-client\"/*,*/,\"client_id\":\"revoked-client\"}"),
        ("two documents", "{\"client_id\":\"good-client\"}{\"client_id\":\"revoked-client\"}"),
    ] {
        rows.add(format!("JSON: {label}"), "POST", "/token", &[JSON], body);
    }
}

/// Each way to spell the id of the revoked client.
fn values(rows: &mut Rows) {
    let values = [
        "revoked%2Dclient",
        "%72evoked-client",
        "revoked-clien%74",
        "Revoked-Client",
        "REVOKED-CLIENT",
        "revoked-client%00",
        "revoked-client%00x",
        "%00revoked-client",
        "revoked-client%20",
        "revoked-client+",
        "+revoked-client",
        "%09revoked-client",
        "revoked-client%0A",
        "revoked-client%0D%0A",
        "revoked-client%C2%A0",
        "%EF%BB%BFrevoked-client",
        "revoked-client%E2%80%8B",
        "%EF%BD%92evoked-client",
        "revoked%E2%80%91client",
        "%FFrevoked-client",
        "revoked-client%FF",
        "revoked-client%",
        "revoked-client%2",
        "revoked-client%zz",
        "%u0072evoked-client",
        "revoked-client;x=y",
        "revoked-client%3Bx",
        "revoked-client,good-client",
        "good-client;client_id=revoked-client",
        "good-client%26client_id=revoked-client",
        "good-client;+client_id=revoked-client",
        "good-client&amp;client_id=revoked-client",
        "good-client%00&client_id=revoked-client",
        "&client_id=revoked-client",
        "%22revoked-client%22",
        "revoked-client%2C",
        "revoked-client/",
        "r%C3%A9voked-client",
        "revoked-client\tx",
    ];
    for value in values {
        let pair = format!("client_id={value}");
        rows.add(format!("form value: {pair}"), "POST", "/token", &[FORM], format!("{REST}&{pair}"));
        rows.add(format!("first value: {pair}"), "POST", "/token", &[FORM], format!("{pair}&{REST}"));
        rows.add(format!("query value: {pair}"), "GET", &format!("/authorize?{pair}&response_type=code"), &[], "");
        let json = serde_json::json!({ "client_id": String::from_utf8_lossy(&decode(value)) }).to_string();
        rows.add(format!("JSON value: {json}"), "POST", "/token", &[JSON], json);
    }
}

fn utf16(text: &str, little: bool) -> Vec<u8> {
    text.encode_utf16().flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() }).collect()
}

/// Code page 500.
fn ebcdic(text: &str) -> Vec<u8> {
    let one = |byte: u8| match byte {
        b'a'..=b'i' => byte - b'a' + 0x81,
        b'j'..=b'r' => byte - b'j' + 0x91,
        b's'..=b'z' => byte - b's' + 0xA2,
        b'0'..=b'9' => byte - b'0' + 0xF0,
        b'_' => 0x6D,
        b'-' => 0x60,
        b'=' => 0x7E,
        b'&' => 0x50,
        _ => 0x40,
    };
    text.bytes().map(one).collect()
}

/// Each body under each media type.
fn media_types(rows: &mut Rows) {
    let form = format!("client_id={REVOKED}&{REST}");
    let json = format!("{{\"client_id\":\"{REVOKED}\",\"grant_type\":\"refresh_token\"}}");
    let with = |prefix: &[u8], text: &str| [prefix, text.as_bytes()].concat();
    let bodies = [
        ("a form", form.clone().into_bytes()),
        ("a form after a BOM", with(b"\xEF\xBB\xBF", &form)),
        ("a form after a line", with(b"\r\n", &form)),
        ("a UTF-7 form", format!("+AGM-lient+AF8-id+AD0-{REVOKED}+ACY-{REST}").into_bytes()),
        ("a UTF-7 form in a good one", format!("client_id={GOOD}&x=+ACY-client_id+AD0-{REVOKED}").into_bytes()),
        ("a UTF-16 form", utf16(&form, true)),
        ("a UTF-16 form, big end first", utf16(&form, false)),
        ("a UTF-16 form after a BOM", [&b"\xFF\xFE"[..], &utf16(&form, true)].concat()),
        ("an EBCDIC form", ebcdic(&form)),
        ("a document", json.clone().into_bytes()),
        ("a document after a BOM", with(b"\xEF\xBB\xBF", &json)),
        (
            "a UTF-7 document in a good one",
            format!("{{\"client_id\":\"{GOOD}\",\"x\":\"+ACI-,+ACI-client_id+ACI-:+ACI-{REVOKED}\"}}").into_bytes(),
        ),
        ("a UTF-16 document", utf16(&json, true)),
        ("a form in a document", format!("{{\"client_id\":\"{GOOD}\",\"x\":\"&client_id={REVOKED}&\"}}").into_bytes()),
        ("a document in a form", format!("client_id={GOOD}&x={{\"client_id\":\"{REVOKED}\"}}").into_bytes()),
        ("parts", multipart(&[("name=\"client_id\"", REVOKED)])),
        (
            "parts with a form in them",
            multipart(&[
                (&format!("name=\"x\"; filename=\"&client_id={GOOD}&\""), "x"),
                ("name=\"client_id\"", REVOKED),
            ]),
        ),
    ];
    let types: [&[&str]; 43] = [
        &[FORM],
        &[JSON],
        &[],
        &[""],
        &["text/plain"],
        &["text/json"],
        &["application/octet-stream"],
        &["multipart/form-data; boundary=b"],
        &["multipart/form-data;boundary=\"b\""],
        &["multipart/mixed; boundary=b"],
        &["MULTIPART/FORM-DATA; BOUNDARY=b"],
        &["application/vnd.x+json"],
        &["application/problem+json"],
        &["application/x-json"],
        &["application/jsonp"],
        &["application/json; charset=utf-8"],
        &["application/json; charset=utf-7"],
        &["application/json; charset =utf-7"],
        &["application/json; charset*=utf-7''x"],
        &["application/json;charset=utf-16le"],
        &["application/json; x=\"; charset=utf-7"],
        &["application/x-www-form-urlencoded; charset=utf-8"],
        &["application/x-www-form-urlencoded; charset=utf-16-le"],
        &["application/x-www-form-urlencoded; charset=utf-16"],
        &["application/x-www-form-urlencoded; charset=utf-7"],
        &["application/x-www-form-urlencoded; charset =utf-7"],
        &["application/x-www-form-urlencoded; charset\t=\tutf-7"],
        &["application/x-www-form-urlencoded; charset=\"utf-7\""],
        &["application/x-www-form-urlencoded; charset*=utf-7''x"],
        &["application/x-www-form-urlencoded; charset=utf-8; charset=utf-7"],
        &["application/x-www-form-urlencoded; charset=cp500"],
        &["application/x-www-form-urlencoded; charset=utf-16-be"],
        &["application/x-www-form-urlencoded;"],
        &["application/x-www-form-urlencodedx"],
        &["application/x-www-form-urlencoded, text/plain"],
        &["application/x-www-form-urlencoded text"],
        &["x-application/x-www-form-urlencoded"],
        &["Application/X-WWW-Form-Urlencoded"],
        &["application /x-www-form-urlencoded"],
        &[FORM, JSON],
        &[JSON, FORM],
        &[FORM, "multipart/form-data; boundary=b"],
        &["text/plain; application/json"],
    ];
    for types in types {
        for (label, body) in &bodies {
            rows.add(format!("{label} as {types:?}"), "POST", "/token", types, body.clone());
        }
        let body = format!("client_id={REVOKED}&response_type=code");
        rows.add(format!("POST /authorize as {types:?}"), "POST", "/authorize", types, body);
    }
    for encoding in ["gzip", "identity", "x-unknown", "", "deflate, identity"] {
        rows.add(format!("encoded: {encoding:?}"), "POST", "/token", &[FORM], form.clone());
        rows.with_header(header::CONTENT_ENCODING, encoding.as_bytes());
    }
}

/// Unexpected bodies, or bodies under another method.
fn methods(rows: &mut Rows) {
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "PUT", "PATCH", "QUERY", "post", "TRACE", "PROPFIND"] {
        for target in ["/token", "/authorize", "/token?client_id=good-client", "/authorize?client_id=good-client"] {
            let form = format!("client_id={REVOKED}&{REST}");
            rows.add(format!("{method} {target} with a form"), method, target, &[FORM], form);
            let json = format!("{{\"client_id\":\"{REVOKED}\"}}");
            rows.add(format!("{method} {target} with a document"), method, target, &[JSON], json);
            let parts = multipart(&[("name=\"client_id\"", REVOKED)]);
            rows.add(
                format!("{method} {target} with parts"),
                method,
                target,
                &["multipart/form-data; boundary=b"],
                parts,
            );
        }
        rows.add(format!("{method} /token?client_id"), method, &format!("/token?client_id={REVOKED}"), &[], "");
        rows.add(format!("{method} /authorize?client_id"), method, &format!("/authorize?client_id={REVOKED}"), &[], "");
    }
}

/// Each spelling of `Authorization: Basic`.
fn basic(rows: &mut Rows) {
    let pair = |user: &str| BASE64_STANDARD.encode(format!("{user}:secret"));
    let bad = pair(REVOKED);
    let mut wild = bad.clone();
    wild.insert_str(4, "-_!");
    let mut spaced = bad.clone();
    spaced.insert(4, ' ');
    let credentials = [
        format!("Basic {bad}"),
        format!("basic {bad}"),
        format!("BASIC {bad}"),
        format!("Basic  {bad}"),
        format!("Basic\t{bad}"),
        format!("Basic {bad} "),
        format!("Basic {}", bad.trim_end_matches('=')),
        format!("Basic {bad}===="),
        format!("Basic {wild}"),
        format!("Basic {spaced}"),
        format!("Basic {bad}, Basic {}", pair(GOOD)),
        format!("Basic {}, Basic {bad}", pair(GOOD)),
        format!("Basic: {bad}"),
        format!("Basic={bad}"),
        format!("Basic,{bad}"),
        format!("Basic\u{b}{bad}"),
        bad.clone(),
        format!("Basic {}", pair("revoked%2Dclient")),
        format!("Basic {}", pair("%72evoked-client")),
        format!("Basic {}", pair("revoked-client\0")),
        format!("Basic {}", pair("revoked-client ")),
        format!("Basic {}", pair(" revoked-client")),
        format!("Basic {}", pair("REVOKED-CLIENT")),
        format!("Basic {}", pair("\u{feff}revoked-client")),
        format!("Basic {}", BASE64_STANDARD.encode(REVOKED)),
        format!("Basic {}", BASE64_STANDARD.encode(b"revoked-client\xFF:x")),
        format!("Basic {}", BASE64_STANDARD.encode(format!("\n{REVOKED}:x"))),
        format!("Bearer {bad}"),
        format!("Digest username=\"{REVOKED}\""),
    ];
    for credentials in credentials {
        for body in [REST.to_owned(), format!("{REST}&client_id={GOOD}")] {
            if HeaderValue::from_bytes(credentials.as_bytes()).is_ok() {
                rows.add(format!("Authorization: {credentials:?} and {body}"), "POST", "/token", &[FORM], body);
                rows.with_header(header::AUTHORIZATION, credentials.as_bytes());
            }
        }
    }
    for (first, second) in [(GOOD, REVOKED), (REVOKED, GOOD)] {
        rows.add(format!("Authorization twice: {first}, {second}"), "POST", "/token", &[FORM], REST);
        rows.with_header(header::AUTHORIZATION, format!("Basic {}", pair(first)).as_bytes());
        rows.with_header(header::AUTHORIZATION, format!("Basic {}", pair(second)).as_bytes());
    }
}

/// Each spelling of `redirect_uri`, for a registered client; and grants without a client.
fn redirects_and_grants(rows: &mut Rows) {
    let (good_uri, evil_uri) = (encode(GOOD_URI), encode(EVIL_URI));
    let client = format!("response_type=code&client_id={GOOD}");
    for name in spellings("redirect_uri") {
        let (bad, good) = (format!("{name}={evil_uri}"), format!("redirect_uri={good_uri}"));
        for pairs in [bad.clone(), format!("{good}&{bad}"), format!("{bad}&{good}")] {
            rows.add(format!("redirect, query: {pairs}"), "GET", &format!("/authorize?{client}&{pairs}"), &[], "");
            rows.add(format!("redirect, form: {pairs}"), "POST", "/authorize", &[FORM], format!("{client}&{pairs}"));
            rows.add(format!("redirect, pushed: {pairs}"), "POST", "/par", &[FORM], format!("{client}&{pairs}"));
        }
        let (target, body) = (format!("/authorize?{client}&{good}"), bad.clone());
        rows.add(format!("redirect, query {good}, form {bad}"), "POST", &target, &[FORM], body);
    }
    for more in
        ["request=x", "request_uri=urn:x", "request_uri=https://x.example/y", "request=", "request=x&request_uri=y"]
    {
        let target = format!("/authorize?{client}&redirect_uri={evil_uri}&{more}");
        rows.add(format!("redirect beside {more}"), "GET", &target, &[], "");
    }
    for value in ["%20", "%00", "%FF", "?x", "#x", "/", "%2F..", "@evil.example.net", ".evil.example.net", ";x", "%5C"]
    {
        let target = format!("/authorize?{client}&redirect_uri={good_uri}{value}");
        rows.add(format!("redirect value: …{value}"), "GET", &target, &[], "");
        let target = format!("/authorize?{client}&redirect_uri={value}{good_uri}");
        rows.add(format!("redirect value: {value}…"), "GET", &target, &[], "");
    }
    let anonymous = format!("grant_type={}", encode(ANONYMOUS_GRANT));
    for name in spellings("grant_type") {
        for pairs in [format!("{anonymous}&{name}=refresh_token"), format!("{name}=refresh_token&{anonymous}")] {
            rows.add(
                format!("grant: {pairs}"),
                "POST",
                "/token",
                &[FORM],
                format!("{pairs}&refresh_token=r&assertion=a"),
            );
        }
        rows.add(
            format!("grant, query: {name}"),
            "POST",
            &format!("/token?{name}=refresh_token"),
            &[FORM],
            format!("{anonymous}&assertion=a"),
        );
    }
}

/// Requests of honest clients.
fn honest(rows: &mut Rows) {
    let basic = |user: &str| format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:secret")));
    let client = format!("client_id={GOOD}");
    let code =
        format!("grant_type=authorization_code&code=c%2B%2F%3D&code_verifier=v-._~&redirect_uri={}", encode(GOOD_URI));
    let two = "resource=https%3A%2F%2Fa.example%2Fmcp&resource=https%3A%2F%2Fb.example%2Fmcp";
    for (name, media_type, body) in [
        ("a code", FORM, format!("{code}&{client}")),
        ("a refresh", FORM, format!("{REST}&{client}")),
        (
            "with the charset that Java writes",
            "application/x-www-form-urlencoded;charset=UTF-8",
            format!("{REST}&{client}"),
        ),
        (
            "with a charset in quotes",
            "application/x-www-form-urlencoded; charset=\"utf-8\"",
            format!("{REST}&{client}"),
        ),
        ("in capitals", "Application/X-WWW-Form-Urlencoded", format!("{REST}&{client}")),
        ("two resources", FORM, format!("{REST}&{client}&{two}")),
        ("escaped without need", FORM, format!("{REST}&client%5fid=good%2dclient")),
        ("an empty secret", FORM, format!("{REST}&{client}&client_secret=")),
        ("words beyond ASCII", FORM, format!("{REST}&{client}&label=%C3%A9%F0%9F%98%80+x&scope=a+b%20c")),
        ("names of others", FORM, format!("{REST}&{client}&client_name=x&client_info=y&client-version=z&x.y=z&a[b]=c")),
        (
            "in JSON",
            JSON,
            format!(
                "{{\"grant_type\":\"refresh_token\",\"client_id\":\"{GOOD}\",\"resource\":[\"https://a.example\",\"https://b.example\"]}}"
            ),
        ),
        (
            "in JSON with a charset",
            "application/json; charset=utf-8",
            format!("{{\"client_id\":\"{GOOD}\",\"client_secret\":null}}"),
        ),
        (
            "a jwt-bearer grant of a client",
            FORM,
            format!("grant_type={}&assertion=a.b.c&{client}", encode(ANONYMOUS_GRANT)),
        ),
    ] {
        rows.add(format!("honest: {name}"), "POST", "/token", &[media_type], body);
        rows.owe(Owed::Client);
    }
    for (name, credentials, body) in [
        ("Basic", basic(GOOD), REST.to_owned()),
        ("Basic in lower case", basic(GOOD).replace("Basic", "basic"), REST.to_owned()),
        ("Basic, escaped", basic("good%2Dclient"), REST.to_owned()),
        ("Basic, and in the form", basic(GOOD), format!("{REST}&{client}")),
        ("Bearer of a gateway", "Bearer abc".to_owned(), format!("{REST}&{client}")),
        ("DPoP", "DPoP abc".to_owned(), format!("{REST}&{client}")),
    ] {
        rows.add(format!("honest: {name}"), "POST", "/token", &[FORM], body);
        rows.with_header(header::AUTHORIZATION, credentials.as_bytes());
        rows.owe(Owed::Client);
    }
    let all = format!(
        "response_type=code&{client}&redirect_uri={}&scope=openid+mcp%3Aread&state=a%3Bb%26c%3D%7B%22x%22%3A1%7D\
        &code_challenge=abc&code_challenge_method=S256&{two}&nonce=n&ui_locales=de+fr&login_hint=%C3%A9%40example.com\
        &claims=%7B%22id_token%22%3A%7B%7D%7D&utm_source=x",
        encode(GOOD_URI)
    );
    for (name, method, target, types, body) in [
        ("an authorization request", "GET", format!("/authorize?{all}"), &[][..], String::new()),
        ("without a redirect URI", "GET", format!("/authorize?response_type=code&{client}"), &[], String::new()),
        (
            "with it as browsers leave it",
            "GET",
            format!("/authorize?{client}&redirect_uri={GOOD_URI}"),
            &[],
            String::new(),
        ),
        ("posted", "POST", "/authorize".to_owned(), &[FORM], all.clone()),
        (
            "a decision with its query",
            "POST",
            format!("/authorize?{all}"),
            &[FORM],
            "consent=yes&csrf=t%2Bx".to_owned(),
        ),
        ("pushed", "POST", "/par".to_owned(), &[FORM], all.clone()),
    ] {
        rows.add(format!("honest: {name}"), method, &target, types, body);
        rows.owe(Owed::Client);
    }
    rows.add("honest: a decision about nobody", "POST", "/authorize", &[FORM], "consent=yes&csrf=t%2Bx");
    rows.owe(Owed::Nobody);
    rows.add("honest: a preflight", "OPTIONS", "/token", &[], "");
    rows.owe(Owed::Nobody);
}

pub(crate) fn all() -> Vec<Row> {
    let mut rows = Rows::default();
    honest(&mut rows);
    names(&mut rows);
    values(&mut rows);
    media_types(&mut rows);
    methods(&mut rows);
    basic(&mut rows);
    redirects_and_grants(&mut rows);
    rows.0
}
