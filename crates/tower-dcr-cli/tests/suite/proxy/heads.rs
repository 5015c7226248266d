//! Headers and hosts that pass the proxy, and those that it rejects.

use serde_json::json;

use super::{is_rejected, post_raw, raw, received, start, upstream};
use test_support::folder::Folder;

#[tokio::test]
async fn forwarding_headers_count_from_trusted_proxies_only() {
    let own = upstream().await;
    let said = "host: as.example.com\r\nx-forwarded-for: 6.6.6.6, 203.0.113.7\r\nx-forwarded-host: evil.example.net\r\n\
                x-forwarded-proto: https\r\nforwarded: for=198.51.100.9;host=evil.example.net;proto=gopher\r\n\
                x-real-ip: 203.0.113.7\r\nx-forwarded-port: 1\r\nx-forwarded: for=x\r\ntrue-client-ip: 6.6.6.6\r\n\
                x-client-ip: 6.6.6.6\r\ncf-connecting-ip: 6.6.6.6\r\nx-cluster-client-ip: 6.6.6.6\r\n\
                fastly-client-ip: 6.6.6.6\r\nx_forwarded_for: 6.6.6.6\r\n";
    let seen = async |arguments: &[&str]| {
        let seen = received(&start(&own, arguments).await, "/any/Path%20x?a=%2F", said).await;
        assert_eq!(seen["uri"], "/any/Path%20x?a=%2F");
        let text = seen["headers"].to_string();
        for lie in ["evil", "6.6.6.6", "gopher", "real-ip", "port"] {
            assert!(!text.contains(lie), "{arguments:?} {lie}: {text}");
        }
        let header = |name: &str| seen["headers"][name].as_str().unwrap_or("-").to_owned();
        ["host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "forwarded"].map(header)
    };
    let here = "as.example.com";
    assert_eq!(seen(&[]).await, [here, "127.0.0.1", here, "-", "for=127.0.0.1;host=\"as.example.com\""]);
    let forwarded = "for=203.0.113.7;host=\"as.example.com\";proto=https, for=127.0.0.1";
    let believed = [here, "203.0.113.7, 127.0.0.1", here, "https", forwarded];
    assert_eq!(seen(&["--trusted-proxy", "127.0.0.0/8"]).await, believed);
    let folder = Folder::new("proxy-trust");
    let policy = |name: &str, text: &str| folder.write(name, text).0.join(name).display().to_string();
    let file = policy("x.toml", "client_address.trusted_proxies = ['127.0.0.1']");
    assert_eq!(seen(&["--policy", &file]).await, believed);
    let file = policy(
        "forwarded.toml",
        "client_address.trusted_proxies = ['127.0.0.1']\nclient_address.forwarded_header = 'forwarded'",
    );
    assert_eq!(
        seen(&["--policy", &file]).await,
        [here, "198.51.100.9, 127.0.0.1", here, "-", "for=198.51.100.9;host=\"as.example.com\", for=127.0.0.1"]
    );
    let server = own.strip_prefix("http://").unwrap();
    assert_eq!(
        seen(&["--upstream-host", "--public-url", "https://public.example.com:8443"]).await,
        [
            server,
            "127.0.0.1",
            "public.example.com:8443",
            "https",
            "for=127.0.0.1;host=\"public.example.com:8443\";proto=https"
        ]
    );
    let public = seen(&["--public-url", "https://public.example.com"]).await;
    assert_eq!(&public[0], "public.example.com", "the one name that clients have for it");
}

/// Some frameworks read these as another path, method or host than the evaluated one.
#[tokio::test]
async fn headers_that_override_the_request_never_pass() {
    let own = upstream().await;
    let overrides = [
        "X-HTTP-Method-Override: PUT",
        "X-HTTP-Method: PUT",
        "X-Method-Override: PUT",
        "X_HTTP_METHOD_OVERRIDE: PUT",
        "X-HTTP_Method-Override: PUT",
        "X.HTTP.Method.Override: PUT",
        "X-Original-URL: /oauth/clients",
        "X-Rewrite-URL: /oauth/clients",
        "X-Original-URI: /oauth/clients",
        "X-Original-Host: evil.example.net",
        "X-Forwarded-URI: /oauth/clients",
        "X-Forwarded-Path: /oauth/clients",
        "X-Forwarded-Prefix: /evil",
        "X-HTTP-Path-Override: /oauth/clients",
        "X-Host: evil.example.net",
        "X-Accel-Mapping: /=/",
        "X-Sendfile-Type: X-Accel-Redirect",
        "Script-Name: /evil",
        "Proxy: http://evil.example.net",
        "Content_Length: 1",
        "Any_Thing: 1",
    ];
    let head = overrides.join("\r\n") + "\r\n";
    for arguments in [&[][..], &["--trusted-proxy", "127.0.0.1"]] {
        let proxy = start(&own, arguments).await;
        for path in ["/anything", "/oauth/clients/client-1"] {
            let seen =
                received(&proxy, path, &format!("host: as.example.com\r\nx-app: 1\r\ncookie: a_b=c\r\n{head}")).await;
            let headers = seen["headers"].as_object().unwrap();
            for name in headers.keys() {
                let passes = ["host", "x-app", "cookie", "via", "forwarded", "x-forwarded-for", "x-forwarded-host"];
                let is_length = name == "content-length" && headers[name] == "0";
                assert!(passes.contains(&&**name) || is_length, "{arguments:?} {path}: {name}");
            }
            assert_eq!((&headers["x-app"], &headers["cookie"]), (&json!("1"), &json!("a_b=c")));
        }
    }
    let proxy = start(&own, &[]).await;
    for query in [
        "_method=PUT",
        "a=b&_METHOD=PUT",
        "%5Fmethod=PUT",
        "%u005fmethod=PUT",
        "a;_method=PUT",
        ".method=PUT",
        "_method[]=PUT",
        "x-http-method-override=PUT",
    ] {
        assert!(is_rejected(&post_raw(&proxy, &format!("/oauth/clients?{query}"), "{}").await), "{query}");
    }
    assert!(post_raw(&proxy, "/form?_method=PUT", "{}").await.starts_with("HTTP/1.1 200"), "not of a guarded path");
    let testimony = "host: as.example.com\r\nclient-cert: :x:\r\nx-ssl-client-verify: SUCCESS\r\nremote-user: root\r\n";
    let seen = received(&proxy, "/x", testimony).await["headers"].to_string();
    assert!(!seen.contains("client") && !seen.contains("remote-user"), "{seen}");
}

/// RFC 9110 section 7.6.1, applied before evaluation: a header that is removed later was still evaluated.
#[tokio::test]
async fn the_connection_header_removes_no_evaluated_header() {
    let proxy = start(&upstream().await, &[]).await;
    let body = json!({ "redirect_uris": ["http://127.0.0.1:1/cb"], "software_version": "x&client_name=Claude&z=" });
    let post = async |path: &str, connection: &str| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: as.example.com\r\ncontent-type: application/json\r\n\
             authorization: Bearer t\r\nx-trace: 1\r\n{connection}\r\n"
        );
        raw(&proxy, &head, &body.to_string()).await
    };
    for connection in [
        "connection: close, content-type",
        "connection: close\r\nconnection: Content-Type",
        "connection: close,\tCONTENT-LENGTH",
        "connection: close, host",
        "connection: close, authorization",
        "connection: close, cookie",
        "connection: close, x-forwarded-for",
        "connection: close, content type",
        "connection: close, \"content-type\"",
        "connection: close, content-type;q=1",
    ] {
        for path in ["/oauth/clients", "/oauth/token", "/anything"] {
            let answer = post(path, connection).await;
            assert!(is_rejected(&answer), "{path} {connection}: {answer}");
        }
    }
    for connection in
        ["connection: close", "connection: close, X-Trace", "connection: close, te\r\nte: gzip", "connection: ,close,"]
    {
        assert!(post("/oauth/clients", connection).await.starts_with("HTTP/1.1 201"), "{connection}");
        let seen = post("/anything", connection).await;
        let gone = if connection.contains("Trace") { "x-trace" } else { "\"te\"" };
        assert!(seen.starts_with("HTTP/1.1 200") && !seen.contains(gone), "{connection}: {seen}");
        assert!(seen.contains("Bearer t") && seen.contains("application/json"), "{seen}");
    }
    // An upgrade to another protocol, and a web socket at an evaluated endpoint.
    let upgrade = "host: as.example.com\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n";
    let head = format!("GET /x HTTP/1.1\r\nconnection: close, upgrade, http2-settings\r\n{upgrade}");
    let seen = raw(&proxy, &head, "").await;
    assert!(seen.starts_with("HTTP/1.1 200") && !seen.contains("h2c") && !seen.contains("http2-settings"), "{seen}");
}

#[tokio::test]
async fn rejects_invalid_hosts() {
    let proxy = start(&upstream().await, &[]).await;
    for (target, host) in [
        ("/x", "as.example.com"),
        ("/x", "as.example.com:8443"),
        ("/x", "127.0.0.1:80"),
        ("/x", "[2001:db8::1]:443"),
        ("/x", "my_service"),
        ("http://as.example.com/x", "AS.example.com"),
        ("http://as.example.com/x", "as.example.com:80"),
    ] {
        let seen = received(&proxy, target, &format!("host: {host}\r\n")).await;
        assert_eq!((&seen["uri"], &seen["headers"]["x-forwarded-host"]), (&json!("/x"), &json!(host)), "{target}");
        assert_eq!(seen["headers"]["forwarded"], format!("for=127.0.0.1;host=\"{host}\""));
    }
    for (target, fields) in [
        ("/x", ""),
        ("/x", "host:\r\n"),
        ("/x", "host: a\", for=6.6.6.6;x=\"\r\n"),
        ("/x", "host: a, b\r\n"),
        ("/x", "host: a b\r\n"),
        ("/x", "host: user@as.example.com\r\n"),
        ("/x", "host: http://as.example.com\r\n"),
        ("/x", "host: as.example.com/x\r\n"),
        ("/x", "host: as.example.com?x\r\n"),
        ("/x", "host: as.example.com:\r\n"),
        ("/x", "host: as.example.com:+80\r\n"),
        ("/x", "host: as.example.com:65536\r\n"),
        ("/x", "host: as.example.com:80:80\r\n"),
        ("/x", "host: a%00b\r\n"),
        ("/x", "host: a;b\r\n"),
        ("/x", "host: \u{e9}.example.com\r\n"),
        ("/x", "host: [::1\r\n"),
        ("/x", "host: [::1%25eth0]\r\n"),
        ("/x", "host: [as.example.com]\r\n"),
        ("/x", "host: as.example.com\r\nhost: as.example.com\r\n"),
        ("/x", "host: as.example.com\r\nhost: evil.example.net\r\n"),
        ("http://as.example.com/x", "host: evil.example.net\r\n"),
        ("http://as.example.com/x", ""),
        ("http://user@as.example.com/x", "host: as.example.com\r\n"),
    ] {
        let answer = raw(&proxy, &format!("GET {target} HTTP/1.1\r\nconnection: close\r\n{fields}"), "").await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{target} {fields}: {answer}");
    }
    // HTTP/1.0 has no hosts.
    let old = raw(&proxy, "GET /x HTTP/1.0\r\n", "").await;
    assert!(old.starts_with("HTTP/1.0 200") && !old.contains("x-forwarded-host"), "{old}");
}
