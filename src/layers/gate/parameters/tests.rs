use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};
use http::header;
use http_body_util::{BodyExt, Full};

use super::*;
use crate::layers::gate::endpoint;

type Builder = http::request::Builder;

/// Reads a request as the gate in front of `endpoint` does, and checks the forwarded request.
fn seen_at(endpoint: &'static Endpoint, request: Builder, body: &[u8]) -> Result<Seen, Fault> {
    let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
    let has_body = request.method() == Method::POST;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (parts, bytes) = read_body(endpoint, request).await.map_err(|unfinished| unfinished.fault)?;
        let (request, seen) = read::<Full<Bytes>>(endpoint, parts, bytes)?;
        let headers = request.headers().clone();
        let bytes = request.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(bytes, if has_body { body } else { b"" }, "byte for byte");
        if !bytes.is_empty() {
            let media = headers.get(header::CONTENT_TYPE).unwrap().to_str().unwrap();
            assert!([FORM, JSON].contains(&media), "{media}");
            assert_eq!(headers[header::CONTENT_LENGTH], bytes.len().to_string().as_str());
            assert!(!headers.contains_key(header::ACCEPT_ENCODING));
        }
        for gone in ["content-encoding", "content-md5", "x-http-method-override", "x_http_method_override", "digest"] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
        Ok(seen)
    })
}

/// Reads a request of the token endpoint, or, below `/a`, of the authorization endpoint.
fn seen(request: Builder, body: &str) -> Result<Seen, Fault> {
    let is_authorization = request.uri_ref().is_some_and(|uri| uri.path().starts_with("/a"));
    let endpoint = if is_authorization { &endpoint::AUTHORIZATION } else { &endpoint::TOKEN };
    seen_at(endpoint, request, body.as_bytes())
}

fn post() -> Builder {
    Request::post("/token")
}

fn form() -> Builder {
    post().header("content-type", FORM)
}

fn json() -> Builder {
    post().header("content-type", JSON)
}

fn basic(user: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:secret")))
}

fn part(text: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(text)
}

fn jws(claims: &str) -> String {
    format!("{}.{}.{}", part(r#"{"alg":"ES256"}"#), part(claims), part("signature"))
}

fn clear(reason: &str, read: Result<Seen, Fault>) -> Seen {
    read.unwrap_or_else(|fault| panic!("{reason}: {fault:?}"))
}

/// Checks that programs which search for `invalid_client` and similar codes do not find them, unless a new registration
/// solves the problem.
fn unclear(reason: &str, read: &Result<Seen, Fault>) {
    let Err(Fault::Ambiguous(what)) = read else { panic!("{reason}: {read:?}") };
    for word in ["invalid_client", "client id", "client_id", "redirect_uri", "redirect uri"] {
        assert!(!what.to_ascii_lowercase().contains(word), "{what}");
    }
}

#[test]
fn reads_the_client_from_every_place() {
    let assertion = jws(r#"{"iss":"c","sub":"c","aud":"https://as.example.com"}"#);
    let typed = format!("client_assertion_type={JWT_BEARER}&client_assertion={assertion}");
    let rows: Vec<(&str, Builder, String, &[&str])> = vec![
        ("query", Request::get("/authorize?client_id=c&state=x"), String::new(), &["c"]),
        ("query, escaped", Request::get("/authorize?client_id=a%2Bb+c"), String::new(), &["a+b c"]),
        ("query of HEAD", Request::head("/authorize?client_id=c"), String::new(), &["c"]),
        ("a body of GET", Request::get("/authorize?client_id=c"), "client_id=d".into(), &["c"]),
        ("form", form(), "grant_type=x&client_id=c".into(), &["c"]),
        ("form with empty pairs", form(), "&grant_type=x&&client_id=c&".into(), &["c"]),
        (
            "form, with a parameter",
            post().header("content-type", "Application/X-WWW-Form-Urlencoded; charset=UTF-8"),
            "client_id=c".into(),
            &["c"],
        ),
        ("JSON", json(), r#"{"client_id":"c"}"#.into(), &["c"]),
        (
            "JSON in UTF-8",
            post().header("content-type", "application/json; charset=utf-8"),
            r#"{"client_id":"c"}"#.into(),
            &["c"],
        ),
        ("JSON, escaped", json(), r#"{"client\u005fid":"c"}"#.into(), &["c"]),
        ("JSON null", json(), r#"{"client_id":"c","redirect_uri":null}"#.into(), &["c"]),
        (
            "JSON with other members",
            json(),
            r#"{"client_id":"c","authorization_details":[{"type":"x"}]}"#.into(),
            &["c"],
        ),
        ("basic", form().header("authorization", basic("c")), String::new(), &["c"]),
        ("basic without padding", form().header("authorization", "Basic Yzpz"), String::new(), &["c"]),
        ("basic, padding left out", form().header("authorization", "Basic YzpzZQ"), String::new(), &["c"]),
        ("basic, encoded", form().header("authorization", basic("a%3Ab")), String::new(), &["a:b", "a%3Ab"]),
        ("basic, two readings", form().header("authorization", basic("a+b")), String::new(), &["a b", "a+b"]),
        (
            "basic, three readings",
            form().header("authorization", basic("a+%3A")),
            String::new(),
            &["a :", "a+:", "a+%3A"],
        ),
        ("basic, with what separates", form().header("authorization", basic("a=b&c")), String::new(), &["a=b&c"]),
        (
            "basic and form agree",
            form().header("authorization", basic("a+b")),
            "client_id=a%2Bb".into(),
            &["a+b", "a b"],
        ),
        (
            "basic in small letters",
            form().header("authorization", basic("c").replace("Basic", "basic")),
            String::new(),
            &["c"],
        ),
        ("assertion", form(), format!("client_assertion={assertion}"), &["c"]),
        ("assertion with its type", form(), typed, &["c"]),
        ("assertion and form", form(), format!("client_assertion={assertion}&client_id=c"), &["c"]),
        ("assertion without an issuer", form(), format!("client_assertion={}", jws(r#"{"sub":"c"}"#)), &["c"]),
        ("bearer", form().header("authorization", "Bearer x"), "client_id=c".into(), &["c"]),
        ("a bearer token of Laravel", form().header("authorization", "Bearer 12|x"), "client_id=c".into(), &["c"]),
        ("DPoP", form().header("authorization", "DPoP x.y.z"), "client_id=c".into(), &["c"]),
        ("bearer alone", form().header("authorization", "Bearer"), "client_id=c".into(), &["c"]),
        ("nowhere", form(), "grant_type=x".into(), &[]),
        ("empty", form(), "client_id=".into(), &[]),
        ("no body", post(), String::new(), &[]),
        (
            "no body of another type",
            post().header("content-type", "multipart/form-data; boundary=x"),
            String::new(),
            &[],
        ),
        ("in its URL", form().uri("/token?client_id=c"), "grant_type=x".into(), &["c"]),
        (
            "several resources",
            form(),
            "client_id=c&resource=https%3A%2F%2Fa.example.com&resource=https%3A%2F%2Fb.example.com".into(),
            &["c"],
        ),
        ("a field that agrees", form().header("client_id", "c"), "client_id=c".into(), &["c"]),
        (
            "attestation",
            form().header("oauth-client-attestation", jws(r#"{"iss":"b","sub":"c"}"#)),
            "client_id=c".into(),
            &["c"],
        ),
        ("a semicolon in another value", form(), "client_id=c&state=a;b=c".into(), &["c"]),
        (
            "a URL",
            form(),
            "client_id=https%3A%2F%2Fapp.example.com%2Fc.json".into(),
            &["https://app.example.com/c.json"],
        ),
    ];
    for (reason, request, body, wanted) in rows {
        let seen = clear(reason, seen(request, &body));
        assert_eq!(seen.client_ids, wanted, "{reason}");
        assert_eq!(seen.by_basic, reason.starts_with("basic"), "{reason}");
        assert_eq!(seen.is_named_aside, reason == "in its URL", "{reason}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn requests_with_two_readings_are_rejected() {
    let assertion = jws(r#"{"sub":"other"}"#);
    let rows: Vec<(&str, Builder, String)> = vec![
        ("repeated in the query", Request::get("/authorize?client_id=a&client_id=a"), String::new()),
        ("repeated, once without a value", Request::get("/authorize?client_id=&client_id=a"), String::new()),
        ("repeated, once without a value", Request::get("/authorize?client_id=a&client_id"), String::new()),
        ("in query and form", form().uri("/token?client_id=a"), "client_id=a".into()),
        ("in query and JSON", json().uri("/token?client_id=a"), r#"{"client_id":"a"}"#.into()),
        ("in query and JSON, null", json().uri("/token?client_id=a"), r#"{"client_id":null}"#.into()),
        ("grant in its URL", form().uri("/token?grant_type=refresh_token&refresh_token=r"), "client_id=a".into()),
        ("redirect repeated", Request::get("/a?redirect_uri=a&redirect_uri=b"), String::new()),
        ("grant type repeated", form(), "client_id=a&grant_type=x&grant_type=y".into()),
        ("basic against form", form().header("authorization", basic("a")), "client_id=b".into()),
        ("assertion against form", form(), format!("client_assertion={assertion}&client_id=c")),
        (
            "attestation against form",
            form().header("oauth-client-attestation", jws(r#"{"sub":"o"}"#)),
            "client_id=c".into(),
        ),
        ("a field against form", form().header("client_id", "d"), "client_id=c".into()),
        ("a field alone", form().header("client-id", "d"), "grant_type=x".into()),
        (
            "two Authorization fields",
            form().header("authorization", basic("a")).header("authorization", basic("a")),
            String::new(),
        ),
        ("another field for it", form().header("x-http-authorization", basic("a")), "client_id=c".into()),
        ("duplicate JSON member", json(), r#"{"client_id":"a","client_id":"b"}"#.into()),
        ("duplicate JSON member, escaped", json(), r#"{"client_id":"a","client\u005fid":"b"}"#.into()),
        ("JSON array", json(), r#"{"client_id":["a"]}"#.into()),
        ("JSON number", json(), r#"{"client_id":1}"#.into()),
        ("JSON object", json(), r#"{"client_id":{"a":"b"}}"#.into()),
        ("JSON boolean", json(), r#"{"client_id":true}"#.into()),
        ("JSON in another case", json(), r#"{"client_id":"a","Client_ID":"b"}"#.into()),
        ("JSON in another case of Unicode", json(), r#"{"client_id":"a","request_ur\u0131":"b"}"#.into()),
        ("JSON that changes its prototype", json(), r#"{"__proto__":{"client_id":"b"}}"#.into()),
        ("JSON that is a list", json(), r#"[{"client_id":"a"}]"#.into()),
        ("JSON that is no JSON", json(), "{client_id:'a'}".into()),
        ("JSON with a byte order mark", json(), "\u{feff}{\"client_id\":\"a\"}".into()),
        ("JSON that is a form", json(), r#"{"client_id":"a","x":"&client_id=b&"}"#.into()),
        ("a form that is called JSON", json(), "client_id=a".into()),
        ("a form that is JSON", form(), r#"{"client_id":"a"}"#.into()),
        ("a form that is JSON, indented", form(), "\n {\"client_id\":\"a\"}".into()),
        ("two content types", form().header("content-type", "application/json"), "client_id=a".into()),
        ("a byte order mark", form(), "\u{feff}client_id=a".into()),
        ("a byte order mark before another", form(), "\u{feff}x=y&client_id=a".into()),
        ("an escaped byte order mark", form(), "%EF%BB%BFclient_id=a".into()),
        ("a name of PHP", form(), "client_id=a&client.id=b".into()),
        ("a name of PHP alone", form(), "client.id=b".into()),
        ("a name of PHP", form(), "client_id=a&client%20id=b".into()),
        ("a name of PHP", form(), "client_id=a&client+id=b".into()),
        ("a name of PHP", form(), "client_id=a&+client_id=b".into()),
        ("an array", form(), "client_id[]=a".into()),
        ("an array", form(), "client_id%5B%5D=a".into()),
        ("an array beside it", form(), "client_id=a&client_id[1]=b".into()),
        ("a name of qs", form(), "client_id=a&[client_id]=b".into()),
        ("another case", form(), "CLIENT_ID=a".into()),
        ("another case beside it", form(), "client_id=a&Client_Id=b".into()),
        ("a redirect of PHP", Request::get("/a?client_id=a&redirect_uri=x&redirect.uri=y"), String::new()),
        ("an array of redirects", Request::get("/a?client_id=a&redirect_uri[]=y"), String::new()),
        ("a grant of PHP", form(), "client_id=a&grant.type=x".into()),
        ("semicolons", Request::get("/a?client_id=good&y=1;client_id=bad;redirect_uri=z"), String::new()),
        ("semicolons in a form", form(), "x=1;client_id=bad".into()),
        ("semicolons first", form(), ";client_id=bad".into()),
        ("a semicolon in the name of a client", form(), "client_id=a;b".into()),
        ("a semicolon and a case", form(), "x=1;CLIENT_ID=bad".into()),
        ("escaped for HTML", Request::get("/a?x=1&amp;client_id=bad"), String::new()),
        ("a question mark", form(), "?client_id=bad".into()),
        ("a question mark in the query", Request::get("/a??client_id=bad"), String::new()),
        ("an escape of IIS", form(), "%u0063lient_id=bad".into()),
        ("an escape of IIS in a value", form(), "client_id=%u0062ad".into()),
        ("a wrong escape", form(), "client_id=a&x=%".into()),
        ("a wrong escape", form(), "client_id=a&x=%4".into()),
        ("a wrong escape", form(), "client_id=a&x=%zz".into()),
        ("a wrong escape in a name", form(), "client_id=a&%zz=x".into()),
        ("a sign in an escape", form(), "client_id=a&x=%+1".into()),
        ("no UTF-8", form(), "client_id=a&x=%ff".into()),
        ("a long form of UTF-8", form(), "client_id=a&x=%c0%80".into()),
        ("a surrogate", form(), "client_id=a&x=%ed%a0%80".into()),
        ("NUL", form(), "client_id=a%00".into()),
        ("NUL in a name", form(), "client_id=a&client_id%00x=b".into()),
        ("NUL elsewhere", form(), "client_id=a&x=%00".into()),
        ("a space behind it", form(), "client_id=a%20".into()),
        ("a space before it", form(), "client_id=+a".into()),
        ("a line behind it", form(), "client_id=a\r\n".into()),
        ("no ASCII", form(), "client_id=%C3%A4".into()),
        ("no ASCII", json(), r#"{"client_id":"\u00e4"}"#.into()),
        ("a control character", json(), r#"{"client_id":"a\u0000"}"#.into()),
        ("another charset by a field", form(), "_charset_=utf-7&client_id=a".into()),
        ("too many parameters", form(), format!("{}client_id=a", "x=1&".repeat(form::MAX_PARAMETERS))),
        ("too many parameters", Request::get(format!("/a?{}client_id=a", "x&".repeat(1000))), String::new()),
        ("object without a client", Request::get(format!("/a?request={}", jws(r#"{"client_id":"a"}"#))), String::new()),
        ("reference without a client", Request::get("/a?request_uri=urn:x"), String::new()),
        (
            "object and reference",
            Request::get(format!("/a?client_id=a&request_uri=x&request={}", jws("{}"))),
            String::new(),
        ),
        (
            "an assertion of another type",
            form(),
            format!(
                "client_assertion_type=urn:ietf:params:oauth:client-assertion-type:saml2-bearer&client_assertion={}",
                jws(r#"{"sub":"c"}"#)
            ),
        ),
    ];
    for (reason, request, body) in rows {
        unclear(reason, &seen(request, &body));
    }
    assert_eq!(seen(form(), &"x".repeat(MAX_BODY + 1)).unwrap_err(), Fault::TooLarge);
}

#[test]
fn other_media_types_are_rejected() {
    let multipart = "--x\r\nContent-Disposition: form-data; name=\"client_id\"\r\n\r\na\r\n--x--\r\n";
    for media in [
        "multipart/form-data; boundary=x",
        "multipart/mixed; boundary=x",
        "text/plain",
        "text/json",
        "application/vnd.x+json",
        "application/jwt",
        "application/xml",
        "application/octet-stream",
        "application/x-www-form-urlencodedX",
        "application/x-www-form-urlencoded; charset=utf-16-le",
        "application/x-www-form-urlencoded; charset=utf-7",
        "application/x-www-form-urlencoded; charset=utf-32",
        "application/x-www-form-urlencoded; charset=iso-2022-jp",
        "application/x-www-form-urlencoded; charset=ibm037",
        "application/x-www-form-urlencoded; charset=shift_jis",
        "application/x-www-form-urlencoded; charset*=iso-8859-1''",
        "application/x-www-form-urlencoded; charset=iso-8859-1; charset*=utf-7''",
        "application/json; charset=iso-8859-1",
        "multipart/form-data; boundary=x; charset=iso-8859-1",
        "application/x-www-form-urlencoded; charset =utf-7",
        "application/x-www-form-urlencoded; charset*=utf-7''",
        "application/x-www-form-urlencoded, text/plain",
        "application/x-www-form-urlencoded;charset=utf-8;charset=utf-7",
        "application/json; charset=utf-16",
        "application/json; charset=utf-8; charset=utf-16",
        "json",
        "",
    ] {
        for body in [multipart, "client_id=a", r#"{"client_id":"a"}"#, "x"] {
            unclear(media, &seen(post().header("content-type", media), body));
            unclear(media, &seen_at(&endpoint::AUTHORIZATION, post().header("content-type", media), body.as_bytes()));
        }
    }
    unclear("none", &seen(post(), "client_id=a"));
    for coding in ["gzip", "deflate", "br", "identity, gzip", "x"] {
        unclear(coding, &seen(form().header("content-encoding", coding), "client_id=a"));
    }
    unclear("UTF-16", &seen_at(&endpoint::TOKEN, form(), b"\xff\xfec\0l\0i\0"));
    unclear("no UTF-8", &seen_at(&endpoint::TOKEN, form(), b"client_id=a&x=\xff"));
}

/// Every charset that extends ASCII reads ASCII alike, and no two of them the rest.
#[test]
fn forms_in_ascii_pass_in_charsets_that_extend_it() {
    for charset in ["ISO-8859-1", "iso-8859-15", "us-ascii", "utf8", "\"UTF-8\"", "\"utf8\"", "windows-1252"] {
        let is_utf8 = charset == "\"UTF-8\"";
        let request = || post().header("content-type", format!("application/x-www-form-urlencoded; charset={charset}"));
        for body in ["grant_type=x&client_id=c", "client_id=c&state=a%2Bb+c%7E%5C", "client_id=%63"] {
            assert_eq!(clear(charset, seen(request(), body)).client_ids, ["c"], "{charset} {body}");
        }
        for body in ["client_id=c&x=\u{e4}", "client_id=c&x=%C3%A4", "client_id=c&%C3%A4=x", "client_id=c&x=y;%C3%A4=1"]
        {
            assert_eq!(seen(request(), body).is_ok(), is_utf8, "{charset} {body}");
        }
        for body in [
            &b"client_id=c&x=\xe4"[..],
            b"client_id=c&x=%E4",
            b"client_id=c&x=%80",
            b"client_id=c&\xff=1",
            b"\xef\xbb\xbfclient_id=c",
            b"client_id=c&_charset_=iso-8859-1",
            b"client_id=c&client_id=d",
            b"{\"client_id\":\"c\"}",
        ] {
            unclear(charset, &seen_at(&endpoint::TOKEN, request(), body));
            unclear(charset, &seen_at(&endpoint::AUTHORIZATION, request(), body));
        }
    }
}

#[test]
fn other_methods_are_rejected() {
    for method in ["PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "QUERY", "PROPFIND", "post", "Get"] {
        let request = Request::builder().method(method).uri("/token").header("content-type", FORM);
        assert_eq!(seen(request, "client_id=a").unwrap_err(), Fault::Method, "{method}");
    }
    let override_it = |name| Request::get("/authorize?client_id=a").header(name, "POST");
    for name in ["x-http-method-override", "x_http_method_override"] {
        clear(name, seen(override_it(name), ""));
    }
    let preflight = Request::options("/token?tenant=a").header("content-type", "text/plain");
    assert!(clear("preflight", seen(preflight, "client_id=a")).client_ids.is_empty());
    for query in ["client_id=a", "client_id=a&client_id=b", "grant_type=refresh_token&refresh_token=r", "client.id=a"] {
        // A handler that ignores the method reads it as a request.
        unclear(query, &seen(Request::options(format!("/token?{query}")), ""));
    }
}

#[test]
fn odd_authorization_is_rejected() {
    let credentials = BASE64_STANDARD.encode("abc:s");
    let rows = [
        format!("Basic\t{credentials}"),
        format!("Basic  {credentials}"),
        format!("Basic{credentials}"),
        format!("Basic:{credentials}"),
        format!("Basic,{credentials}"),
        format!("Basic={credentials}"),
        format!("Basic {credentials} x"),
        format!("Basic {credentials}, Bearer x"),
        format!("Basic realm=\"x\", {credentials}"),
        format!("\"Basic\" {credentials}"),
        format!(", Basic {credentials}"),
        format!(":Basic {credentials}"),
        format!("B asic {credentials}"),
        format!("Basic-x {credentials}"),
        format!("Bearer x, Basic {credentials}"),
        format!("Bearer Basic {credentials}"),
        format!("Bearer\t{credentials}"),
        "Basic".to_owned(),
        "Basic !!!".to_owned(),
        "Basic YQ==".to_owned(),
        // Bits behind the last byte, white space, the other alphabet.
        "Basic YWJjOnN=".to_owned(),
        "Basic YWJj OnM=".to_owned(),
        "Basic YWJjOnM_".to_owned(),
        format!("Basic {}", BASE64_STANDARD.encode(b"ab\xff:s")),
        format!("Basic {}", BASE64_STANDARD.encode("ab\0:s")),
        format!("Basic {}", BASE64_STANDARD.encode("ab%00:s")),
        format!("Basic {}", BASE64_STANDARD.encode("ab :s")),
        format!("Basic {}", BASE64_STANDARD.encode("ab+:s")),
        "Digest username=\"abc\"".to_owned(),
        format!("Negotiate {credentials}"),
        format!("Custom {credentials}"),
        credentials.clone(),
    ];
    for row in rows {
        unclear(&row, &seen(form().header("authorization", &row), "grant_type=x"));
    }
    // At the authorization endpoint, a person may have to sign in by such a scheme.
    let negotiate = Request::get("/authorize?client_id=c").header("authorization", "Negotiate YII=");
    assert_eq!(clear("Negotiate", seen_at(&endpoint::AUTHORIZATION, negotiate, b"")).client_ids, ["c"]);
    let colons = clear("more colons", seen(form().header("authorization", basic("abc:d")), ""));
    assert_eq!(colons.client_ids, ["abc"]);
    let nobody = clear("nobody", seen(form().header("authorization", basic("")), ""));
    assert!(nobody.client_ids.is_empty() && !nobody.by_basic);
}

/// Each mangled assertion still verifies on some server: its sender chooses its text.
#[test]
fn odd_assertions_are_rejected() {
    let (header, claims, signature) = (part(r#"{"alg":"ES256"}"#), r#"{"iss":"c","sub":"c"}"#, part("sig"));
    let payload = part(claims);
    let rows: Vec<(&str, String)> = vec![
        ("no JWS", "x".into()),
        ("two parts", format!("{header}.{payload}")),
        ("four parts", format!("{header}.{payload}.{signature}.")),
        ("JWE", format!("{header}.{payload}.{signature}.{signature}.{signature}")),
        ("empty payload", format!("{header}..{signature}")),
        ("padding", format!("{header}.{}.{signature}", BASE64_URL_SAFE.encode(format!("{claims} ")))),
        ("padding of the signature", format!("{header}.{payload}.{}", BASE64_URL_SAFE.encode("s"))),
        ("trailing bits", format!("{header}.{}.{signature}", trailing_bits(claims))),
        ("trailing bits of the signature", format!("{header}.{payload}.{}", trailing_bits("sign"))),
        ("a line", format!("{header}.{}\n{}.{signature}", &payload[..4], &payload[4..])),
        ("a space", format!("{header}.{payload} .{signature}")),
        ("a space before it", format!(" {header}.{payload}.{signature}")),
        ("a space behind it", format!("{header}.{payload}.{signature} ")),
        (
            "standard alphabet",
            format!(
                "{header}.{}.{signature}",
                BASE64_STANDARD.encode(r#"{"sub":"c","x":"???>>>"}"#).trim_end_matches('=')
            ),
        ),
        ("no algorithm", format!("{}.{payload}.{signature}", part("{}"))),
        ("header that is no JSON", format!("{}.{payload}.{signature}", part("x"))),
        ("header with two algorithms", format!("{}.{payload}.{signature}", part(r#"{"alg":"a","alg":"b"}"#))),
        ("unencoded payload", format!("{}.{payload}.{signature}", part(r#"{"alg":"a","b64":false,"crit":["b64"]}"#))),
        ("critical extension", format!("{}.{payload}.{signature}", part(r#"{"alg":"a","crit":["x"]}"#))),
        ("compressed", format!("{}.{payload}.{signature}", part(r#"{"alg":"a","zip":"DEF"}"#))),
        ("no subject", jws(r#"{"iss":"c"}"#)),
        ("a subject that is null", jws(r#"{"sub":null}"#)),
        ("a subject that is a number", jws(r#"{"sub":1}"#)),
        ("a subject that is a list", jws(r#"{"sub":["c"]}"#)),
        ("two subjects", jws(r#"{"sub":"c","sub":"d"}"#)),
        ("a subject in another case", jws(r#"{"sub":"c","SUB":"d"}"#)),
        ("a subject in another case of Unicode", jws(r#"{"sub":"c","\u017fub":"d"}"#)),
        ("another issuer", jws(r#"{"sub":"c","iss":"d"}"#)),
        ("an issuer that is a number", jws(r#"{"sub":"c","iss":1}"#)),
        ("a subject that is empty", jws(r#"{"sub":""}"#)),
        ("a subject with a space", jws(r#"{"sub":"c "}"#)),
        ("a subject with NUL", jws(r#"{"sub":"c\u0000"}"#)),
        ("a list", jws(r#"[{"sub":"c"}]"#)),
        ("something behind the object", jws(r#"{"sub":"c"}{"sub":"d"}"#)),
        ("a byte order mark", jws("\u{feff}{\"sub\":\"c\"}")),
        ("a nested JWT", jws(&jws(claims))),
        ("an attestation with its proof", format!("{}~{}", jws(claims), jws(claims))),
    ];
    for (reason, assertion) in rows {
        let escaped: String = form_urlencoded::byte_serialize(assertion.as_bytes()).collect();
        for body in [format!("client_assertion={escaped}"), format!("client_id=c&client_assertion={escaped}")] {
            unclear(reason, &seen(form(), &body));
        }
        if reason != "a subject that is null" && !assertion.contains('\n') {
            // White space around a field value is not part of it.
            let field = form().header("oauth-client-attestation", assertion.trim());
            let fits_attestation =
                ["another issuer", "an issuer that is a number", "a space before it", "a space behind it"];
            if !fits_attestation.contains(&reason) {
                unclear(reason, &seen(field, "client_id=c"));
            }
        }
    }
}

/// Returns a text that is not canonical for the same bytes.
fn trailing_bits(text: &str) -> String {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = text.to_owned();
    while text.len().is_multiple_of(3) {
        text.push(' ');
    }
    let mut encoded = part(&text);
    let last = encoded.pop().unwrap();
    let position = ALPHABET.find(last).unwrap();
    encoded.push(ALPHABET.chars().nth(position + 1).unwrap());
    encoded
}

#[test]
fn request_objects_are_compared() {
    let at = |plain: &str, claims: &str| {
        let request = Request::get(format!("/authorize?{plain}&request={}", jws(claims)));
        seen_at(&endpoint::AUTHORIZATION, request, b"")
    };
    let seen = clear(
        "equal",
        at("client_id=c&redirect_uri=https://a/", r#"{"client_id":"c","iss":"c","redirect_uri":"https://a/"}"#),
    );
    assert_eq!(seen.object.unwrap().redirect_uri.as_deref(), Some("https://a/"));
    let unsigned = format!("{}.{}.", part(r#"{"alg":"none"}"#), part(r#"{"redirect_uri":"https://a/"}"#));
    let seen = clear(
        "unsigned",
        seen_at(&endpoint::AUTHORIZATION, Request::get(format!("/a?client_id=c&request={unsigned}")), b""),
    );
    assert_eq!(seen.object.unwrap().redirect_uri.as_deref(), Some("https://a/"));
    for (reason, plain, claims) in [
        ("another client", "client_id=c", r#"{"client_id":"d"}"#),
        ("another issuer", "client_id=c", r#"{"iss":"d"}"#),
        ("another redirect URI", "client_id=c&redirect_uri=https://a/", r#"{"redirect_uri":"https://b/"}"#),
        ("a list", "client_id=c", r#"{"redirect_uri":["https://b/"]}"#),
        ("another case", "client_id=c", r#"{"redirect_uri":"https://a/","Redirect_Uri":"https://b/"}"#),
        ("another object", "client_id=c", r#"{"request":"x"}"#),
        ("a reference", "client_id=c", r#"{"request_uri":"https://b/"}"#),
    ] {
        unclear(reason, &at(plain, claims));
    }
    unclear(
        "no object",
        &seen_at(&endpoint::AUTHORIZATION, Request::get("/a?client_id=c&redirect_uri=https://a/&request=x"), b""),
    );
    let jwe = "a.b.c.d.e";
    unclear(
        "encrypted",
        &seen_at(&endpoint::AUTHORIZATION, Request::get(format!("/a?client_id=c&request={jwe}")), b""),
    );
    let reference = form().uri("/par");
    unclear(
        "a reference that is pushed",
        &seen_at(&endpoint::PUSHED_AUTHORIZATION, reference, b"client_id=c&request_uri=https%3A%2F%2Fa%2F"),
    );
}

/// Sign-in forms may have fields of any name, and of those of token requests.
#[test]
fn forms_of_people_pass_at_the_authorization_endpoint() {
    for body in [
        "username=a&password=b%25",
        "code=123456",
        "Code=123456&user[code]=1",
        "authenticity_token=x&utf8=%E2%9C%93&scope[]=a&scope[]=b",
        "decision=allow&state=x",
        "csrf=1&scopes=a&scopes=b",
    ] {
        let query = form().uri("/authorize?client_id=c&redirect_uri=https://a/");
        assert_eq!(clear(body, seen_at(&endpoint::AUTHORIZATION, query, body.as_bytes())).client_ids, ["c"]);
        assert!(
            clear(body, seen_at(&endpoint::AUTHORIZATION, form().uri("/authorize"), body.as_bytes()))
                .client_ids
                .is_empty()
        );
    }
}

/// A field that some server reads as a parameter is a form's own only where no server can get a request out of it.
#[test]
fn own_fields_of_forms_are_told_from_parameters() {
    let object = jws(r#"{"redirect_uri":"https://evil.example.net/"}"#);
    let named = "/authorize?client_id=c&redirect_uri=https://a/&response_type=code";
    let rows: Vec<(&str, String, bool)> = vec![
        ("/authorize", "username=a&request=Please+let+me+in.".into(), true),
        ("/authorize", "username=a&Request=help&RedirectUri=%2Fhome&code=1".into(), true),
        ("/authorize", "RedirectUri=%2Fhome".into(), true),
        (named, "username=a&request=Please+let+me+in.".into(), true),
        (named, "request=".into(), true),
        (named, "username=a&request[reason]=help".into(), true),
        // With a client, some servers read it in place of the parameter.
        (named, "username=a&RedirectUri=%2Fhome".into(), false),
        ("/authorize", "client_id=c&RedirectUri=%2Fhome".into(), false),
        ("/authorize", "redirect_uri=https%3A%2F%2Fa%2F&RedirectUri=https%3A%2F%2Fb%2F".into(), false),
        ("/authorize", "response_type=code&RedirectUri=%2Fhome".into(), false),
        ("/authorize", "RedirectUri=a&redirect.uri=b".into(), false),
        ("/authorize?RedirectUri=%2Fhome", "username=a".into(), false),
        ("/authorize", "username=a&ClientId=c".into(), false),
        ("/authorize", "username=a&RequestUri=%2Fhome".into(), false),
        // A body that is a request itself.
        ("/authorize", "client_id=c&username=a&request=help".into(), false),
        ("/authorize", "client_id=c&redirect_uri=https%3A%2F%2Fa%2F&request=x".into(), false),
        (named, "response_type=code&request=x".into(), false),
        (named, "response.type=code&Request=x".into(), false),
        // What may be an object to some server.
        ("/authorize", format!("username=a&request={object}"), false),
        ("/authorize", format!("username=a&Request={object}"), false),
        (named, format!("Request={object}"), false),
        (named, "request=a.b.c".into(), false),
        (named, "request=%7B%22payload%22%3A%22%22%7D".into(), false),
        (named, "request=a%252Eb%252Ec".into(), false),
        (named, "request=a%E3%80%82b%E3%80%82c".into(), false),
        (named, "request=one&request=two".into(), false),
        (named, format!("request=&request={object}"), false),
        (named, format!("request={object}&request[0]=x"), false),
        ("/authorize?client_id=c&request=help", "username=a".into(), false),
    ];
    for (uri, body, passes) in rows {
        let read = seen_at(&endpoint::AUTHORIZATION, form().uri(uri), body.as_bytes());
        if passes {
            let seen = clear(&body, read);
            assert!(seen.object.is_none() && !seen.is_plain, "{uri} {body}");
        } else {
            unclear(&body, &read);
        }
        // Clients have no forms.
        unclear(
            &body,
            &seen_at(&endpoint::TOKEN, form().uri("/token"), format!("x=y&{body}&Redirect_Uri=a").as_bytes()),
        );
    }
    let cookie = form().uri(named).header("cookie", "clientId=another; client_id=third");
    assert_eq!(clear("cookie", seen_at(&endpoint::AUTHORIZATION, cookie, b"username=a")).client_ids, ["c"]);
    let Err(Fault::Ambiguous(said)) = seen_at(&endpoint::AUTHORIZATION, form().uri(named), b"RedirectUri=x") else {
        panic!("the field stands beside a client")
    };
    assert!(said.contains("the callback") && said.contains("another name"), "{said}");
}

/// Combines every way to name a client in a form with every separator and every second name.
#[test]
fn combinations_are_rejected() {
    let names = ["client.id", "client_id[]", "CLIENT_ID", "client%20id", "[client_id]", "client_id%00", "client_id"];
    let separators = ["&", ";", "&amp;", "&&", "&x=1;"];
    let values = ["bad", "b%61d", "", "bad%20"];
    let mut rejected = 0;
    for name in names {
        for separator in separators {
            for value in values {
                for (first, second) in [
                    ("client_id=good".to_owned(), format!("{name}={value}")),
                    (format!("{name}={value}"), "client_id=good".to_owned()),
                ] {
                    let pairs = format!("{first}{separator}{second}");
                    unclear(&pairs, &seen(form(), &pairs));
                    unclear(&pairs, &seen(Request::get(format!("/authorize?{pairs}")), ""));
                    unclear(&pairs, &seen(form().uri(format!("/token?{first}")), &second));
                    rejected += 3;
                }
            }
        }
    }
    assert!(rejected > 500);
}
