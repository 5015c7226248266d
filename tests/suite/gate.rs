//! The gate against other readers, for requests that are put together of what confuses them.

use proptest::prelude::*;

use crate::gate_readers::check;

/// Pieces of forms, JSON and escapes.
fn text() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "client_id",
        "client.id",
        "client id",
        "client+id",
        "client%20id",
        "CLIENT_ID",
        "client_id[]",
        "[client_id]",
        "client_id%00",
        "grant_type",
        "redirect_uri",
        "x",
        "good",
        "bad",
        "=",
        "=",
        "=",
        "&",
        "&",
        ";",
        "&amp;",
        "+",
        "%20",
        "%5B",
        "%5D",
        "%26",
        "%3D",
        "%3B",
        "%zz",
        "%u0063",
        "%EF%BB%BF",
        "\u{feff}",
        "{",
        "}",
        "\"",
        "\":\"",
        "\",\"",
        "[",
        "]",
        "{\"client_id\":\"",
        "\"}",
        "\\u0063",
        "\\u005f",
        ",",
        ":",
        "?",
        " ",
        "ſ",
        "ı",
        "_",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn other_readers_find_no_other_client(query in text(), body in text(), json in any::<bool>()) {
        let query: String = query.chars().filter(|c| c.is_ascii_graphic() && !"\"<>\\^`{|}".contains(*c)).collect();
        let media = if json { "application/json" } else { "application/x-www-form-urlencoded" };
        check(&query, media, body.as_bytes());
        check("", media, body.as_bytes());
        check(&query, media, b"");
    }
}

#[test]
fn plain_requests_pass() {
    for (query, media, body) in [
        ("", "application/x-www-form-urlencoded", "grant_type=x&client_id=good"),
        ("", "application/json", r#"{"grant_type":"x","client_id":"good"}"#),
        ("client_id=good", "application/x-www-form-urlencoded", "x=y"),
        ("p=policy", "application/x-www-form-urlencoded; charset=utf-8", "client_id=good&state=a;b"),
    ] {
        assert!(check(query, media, body.as_bytes()), "{query} {media} {body}");
    }
}
