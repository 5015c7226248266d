use bytes::Bytes;
use http_body_util::{BodyExt, Full};

use super::*;

fn seen(request: http::request::Builder, body: &str) -> Result<Seen, Fault> {
    let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (request, seen) = read(request).await?;
        let bytes = request.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(bytes, body.as_bytes(), "byte for byte");
        Ok(seen)
    })
}

fn form() -> http::request::Builder {
    Request::post("/token").header("content-type", "application/x-www-form-urlencoded")
}

fn basic(user: &str) -> String {
    format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(format!("{user}:secret")))
}

#[test]
fn the_client_is_read_from_wherever_it_may_be() {
    let assertion = format!("h.{}.s", BASE64_URL_SAFE_NO_PAD.encode(r#"{"iss":"c","sub":"c"}"#));
    let rows: Vec<(&str, http::request::Builder, String, &[&str])> = vec![
        ("query", Request::get("/authorize?client_id=c&state=x"), String::new(), &["c"]),
        ("query, escaped", Request::get("/authorize?client_id=a%2Bb+c"), String::new(), &["a+b c"]),
        ("form", form(), "grant_type=x&client_id=c".into(), &["c"]),
        (
            "form, with a parameter",
            Request::post("/token").header("content-type", "Application/X-WWW-Form-Urlencoded; charset=UTF-8"),
            "client_id=c".into(),
            &["c"],
        ),
        (
            "JSON",
            Request::post("/token").header("content-type", "application/json"),
            r#"{"client_id":"c"}"#.into(),
            &["c"],
        ),
        ("basic", form().header("authorization", basic("c")), String::new(), &["c"]),
        ("basic, encoded", form().header("authorization", basic("a%3Ab")), String::new(), &["a:b", "a%3Ab"]),
        ("basic, two readings", form().header("authorization", basic("a+b")), String::new(), &["a b", "a+b"]),
        ("basic, with what separates", form().header("authorization", basic("a=b&c")), String::new(), &["a=b&c"]),
        ("basic and form agree", form().header("authorization", basic("a+b")), "client_id=a%2Bb".into(), &["a+b"]),
        (
            "basic in small letters",
            form().header("authorization", basic("c").replace("Basic", "basic ")),
            String::new(),
            &["c"],
        ),
        ("assertion", form(), format!("client_assertion={assertion}"), &["c"]),
        ("assertion and form", form(), format!("client_assertion={assertion}&client_id=c"), &["c"]),
        ("another scheme", form().header("authorization", "Bearer x"), "client_id=c".into(), &["c"]),
        ("nowhere", form(), "grant_type=x".into(), &[]),
        ("empty is omitted", Request::get("/authorize?client_id=&client_id=c"), String::new(), &["c"]),
        (
            "what some frameworks take for a form",
            Request::post("/token").header("content-type", "application/x-www-form-urlencodedX"),
            "client_id=c".into(),
            &["c"],
        ),
        (
            "a kind of JSON",
            Request::post("/token").header("content-type", "application/vnd.x+json"),
            r#" {"client_id":"c"}"#.into(),
            &["c"],
        ),
        (
            "JSON that is called otherwise",
            Request::post("/token").header("content-type", "text/plain"),
            r#" {"client_id":"c"}"#.into(),
            &["c"],
        ),
        ("no media type", Request::post("/token"), "client_id=c".into(), &["c"]),
        (
            "another media type",
            Request::post("/token").header("content-type", "text/plain"),
            "client_id=c".into(),
            &["c"],
        ),
    ];
    for (reason, request, body, wanted) in rows {
        let seen = seen(request, &body).unwrap_or_else(|fault| panic!("{reason}: {fault:?}"));
        assert_eq!(seen.client_ids, wanted, "{reason}");
        assert_eq!(seen.by_basic, reason.starts_with("basic"), "{reason}");
    }
}

#[test]
fn what_has_two_readings_is_refused() {
    let assertion = format!("h.{}.s", BASE64_URL_SAFE_NO_PAD.encode(r#"{"sub":"other"}"#));
    let rows: Vec<(&str, http::request::Builder, String)> = vec![
        ("repeated in the query", Request::get("/authorize?client_id=a&client_id=a"), String::new()),
        ("in query and form", form().uri("/token?client_id=a"), "client_id=b".into()),
        ("redirect repeated", Request::get("/a?redirect_uri=a&redirect_uri=b"), String::new()),
        ("basic against form", form().header("authorization", basic("a")), "client_id=b".into()),
        ("assertion against form", form(), format!("client_assertion={assertion}&client_id=c")),
        (
            "two Authorization fields",
            form().header("authorization", basic("a")).header("authorization", basic("a")),
            String::new(),
        ),
        ("no base64", form().header("authorization", "Basic !!!"), String::new()),
        ("no colon", form().header("authorization", "Basic YQ=="), String::new()),
        (
            "duplicate JSON member",
            Request::post("/token").header("content-type", "application/json"),
            r#"{"client_id":"a","client_id":"b"}"#.into(),
        ),
        ("two content types", form().header("content-type", "application/json"), "client_id=a".into()),
        ("compressed", form().header("content-encoding", "gzip"), "client_id=a".into()),
    ];
    for (reason, request, body) in rows {
        assert!(matches!(seen(request, &body), Err(Fault::Ambiguous(_))), "{reason}");
    }
    assert_eq!(seen(form(), &"x".repeat(MAX_BODY + 1)).unwrap_err(), Fault::TooLarge);
}
