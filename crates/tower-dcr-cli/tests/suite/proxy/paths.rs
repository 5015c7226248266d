//! Paths that the proxy evaluates, passes and rejects.

use serde_json::json;

use super::{HEAD, is_judged, is_rejected, post_raw, raw, start, upstream};

#[tokio::test]
async fn it_finds_the_endpoints_and_protects_every_spelling() {
    let own = upstream().await;
    let proxy = start(&own, &["--script", "front"]).await;
    let odd = start(&own, &["--script", "front", "--allow-odd-paths"]).await;
    let evil = json!({ "redirect_uris": ["javascript:alert(1)"] }).to_string();
    for path in [
        "/oauth/clients",
        "/oauth/clients?tenant=1",
        "/oauth/clients/",
        "/oauth/clients/client-1",
        "/OAuth/Clients",
        // Frameworks that choose a format by the extension.
        "/oauth/clients.json",
        "/oauth/clients.json.xml",
        // Windows, and similar file systems.
        "/oauth/clients.",
        "/oauth/clients..",
        "/oauth/clients%20",
        "/oauth/clients::$DATA",
        // Servers that parse a decoded path again.
        "/oauth/clients%3F",
        "/oauth/clients%23x",
        // Unicode comparisons that ignore case, width or accents.
        "/oauth/client%C5%BF",
        "/oauth/cl%C4%B1ents",
        "/oauth/cl%C4%B0ents",
        "/oauth/%EF%BD%83lients",
        "/oauth/cli%C3%A9nts",
        "/oauth/cli%C2%ADents",
        "/oauth/cli%E2%80%8Bents",
        "/oauth%EF%BC%8Fclients",
        // Front controllers.
        "/index.php/oauth/clients",
        "/app.php/oauth/clients",
        "/oauth/index.cgi/clients",
        "/oauth/index.cgi/clients/client-1",
        "/public/index.php/oauth/clients",
        "/INDEX.PHP/oauth/clients",
        "/index.php5/oauth/clients",
        "/default.aspx/oauth/clients",
        "/bin/app.fcgi/oauth/clients",
        "/a.php/b.php/oauth/clients",
        "/front/oauth/clients",
        "/(S(lit3py55t21z5v55vlm25s55))/oauth/clients",
        "/oauth/(S(x))/clients",
    ] {
        let answer = post_raw(&proxy, path, &evil).await;
        assert!(is_judged(&answer), "{path}: {answer}");
        let answer = post_raw(&odd, path, &evil).await;
        assert!(is_judged(&answer), "--allow-odd-paths {path}: {answer}");
    }
    for path in [
        "//oauth//clients",
        "/oauth/./clients",
        "/oauth/x/../clients",
        "/oauth/%63lients",
        "/oauth/%2563lients",
        "/oauth/%252563lients",
        "/oauth%2fclients",
        "/oauth%2Fclients",
        "/oauth/x/%2e%2e/clients",
        "/oauth/clients;v=1",
        "/oauth;x/clients",
        "/oauth/clients%3Bv=1",
        "/oauth%5Cclients",
        "/oauth\\clients",
        "/oauth/clients%00",
        "/oauth/clients%00.png",
        "/oauth/clients//",
        "/oauth//../clients",
        "/oauth/.;/../clients",
        "/oauth/clients/..",
        "/oauth/clients/%2e%2e",
        "/oauth/%u0063lients",
        "/oauth/%U0063lients",
        "/oauth/%25u0063lients",
        "/index.php//oauth/clients",
        // Another endpoint to a server that does not unescape.
        "/.well-known/openid-configuration/%2e%2e/%2e%2e/oauth/clients",
        "/oauth/token/%2e%2e/clients",
        "/oauth/clients/%2e%2e/token",
        "/oauth%3F/../oauth/clients",
    ] {
        assert!(is_rejected(&post_raw(&proxy, path, &evil).await), "{path}");
        let answer = post_raw(&odd, path, &evil).await;
        assert!(is_judged(&answer), "--allow-odd-paths {path}: {answer}");
    }
}

#[tokio::test]
async fn canonical_paths_pass_and_others_are_rejected() {
    let own = upstream().await;
    let (proxy, odd) = (start(&own, &[]).await, start(&own, &["--allow-odd-paths"]).await);
    let evil = json!({ "redirect_uris": ["javascript:alert(1)"] }).to_string();
    // Servers differ on these, with or without the flag.
    for path in ["/oauth%C0%AFclients", "/oauth/clients%FF", "/oauth/%252525252563lients"] {
        for proxy in [&proxy, &odd] {
            assert!(is_rejected(&post_raw(proxy, path, &evil).await), "{path}");
        }
    }
    // Other pages, also those of other applications with similar paths.
    for path in [
        "/",
        "/oauth",
        "/oauth/",
        "/oauth/clientship",
        "/oauth/token/clients",
        "/xoauth/clients",
        "/api/oauth/clients",
        "/blog/index.php/api/oauth/clients",
        "/clients",
        "/index.php/clients",
        "/a%20b/c%C3%A9/%E4%B8%AD",
        "/a%c3%a9",
        "/100%25",
        "/50%25off",
        "/a:b@c,d!$&'()*+=e",
        "/%7Bx%7D%5B0%5D%22%3C%3E%7C%5E%60",
        "/a%2Cb%3Ac%40d",
        "/x...y/.hidden",
        "/a.php/b",
    ] {
        for proxy in [&proxy, &odd] {
            assert!(post_raw(proxy, path, &evil).await.starts_with("HTTP/1.1 200"), "{path}");
        }
    }
    for path in ["/a//b", "/a/../b", "/a;b=c/d", "/a%2Fb", "/%41"] {
        assert!(is_rejected(&post_raw(&proxy, path, "").await), "{path}");
        assert!(post_raw(&odd, path, "").await.starts_with("HTTP/1.1 200"), "--allow-odd-paths {path}");
    }
    for path in ["*", "/caf\u{e9}", "/a%", "/a%4", "/a%zz", "/a%C2%85b"] {
        assert!(post_raw(&proxy, path, "").await.starts_with("HTTP/1.1 400"), "{path}");
    }
    for line in ["TRACE /x", "CONNECT as.example.com:80"] {
        let answer = raw(&proxy, &format!("{line} HTTP/1.1\r\n{HEAD}"), "").await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{line}: {answer}");
    }
}

/// A program named in the metadata, with and without its extension.
#[tokio::test]
async fn scripts_are_protected_under_all_their_names() {
    let own = upstream().await;
    let proxy = start(&own, &["--register-path", "/index.php/apps/register.php"]).await;
    let evil = json!({ "redirect_uris": ["javascript:alert(1)"] }).to_string();
    for path in [
        "/index.php/apps/register.php",
        "/apps/register.php",
        "/apps/register",
        "/apps/register.php/x",
        "/index.php/apps/register",
        "/other.php/apps/register",
    ] {
        let answer = post_raw(&proxy, path, &evil).await;
        assert!(is_judged(&answer), "{path}: {answer}");
    }
    assert!(post_raw(&proxy, "/apps/registered", &evil).await.starts_with("HTTP/1.1 200"));
}

/// Each segment may be a script before the server's paths.
#[tokio::test]
async fn paths_with_thousands_of_segments_are_answered() {
    let own = upstream().await;
    let (proxy, odd) = (start(&own, &[]).await, start(&own, &["--allow-odd-paths"]).await);
    let evil = json!({ "redirect_uris": ["javascript:alert(1)"] }).to_string();
    for segment in ["/()", "/a.php", "/x", "/(S(x))"] {
        let path = segment.repeat(7000);
        for proxy in [&proxy, &odd] {
            assert!(post_raw(proxy, &path, "").await.starts_with("HTTP/1.1 200"), "{segment}");
        }
        let answer = post_raw(&proxy, &format!("{path}/oauth/clients"), &evil).await;
        assert_eq!(is_judged(&answer), segment != "/x", "{segment}: {answer}");
    }
}
