//! Third-party servers behind the layers: their answers, and their management of clients (RFC 7592).

use serde_json::{Value, json};

use crate::bench::Bench;
use crate::servers::{Server, Standing};

#[tokio::test]
async fn updates_are_judged_and_the_rest_of_management_works() {
    let Some(bench) = Bench::find() else { return };
    let standing = Server::oidc_provider(bench, Vec::new()).behind(bench);
    let http = standing.http();
    let honest =
        json!({ "client_name": "App", "application_type": "native", "redirect_uris": ["http://127.0.0.1/cb"] });
    let answer = http.post(format!("{}/reg", standing.base)).json(&honest).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 201);
    let client: Value = answer.json().await.unwrap();
    assert_eq!(client["token_endpoint_auth_method"], "none");
    assert!(client.get("client_secret").is_none(), "{client}");
    assert!(client.as_object().unwrap().values().all(|value| !value.is_null()), "{client}");
    let uri = client["registration_client_uri"].as_str().unwrap();
    assert!(uri.starts_with(&standing.base), "{uri}");
    let token = client["registration_access_token"].as_str().unwrap();

    let read: Value = http.get(uri).bearer_auth(token).send().await.unwrap().json().await.unwrap();
    assert_eq!(read["client_name"], "App");
    let mut update = json!({ "client_id": client["client_id"], "client_name": "App", "application_type": "native",
        "redirect_uris": ["javascript:alert(1)"] });
    let put = async |update: &Value| {
        let answer = http.put(uri).bearer_auth(token).json(update).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status, rejected) = put(&update).await;
    assert_eq!((status, &rejected["error"]), (400, &json!("invalid_redirect_uri")));
    update["redirect_uris"] = json!(["http://127.0.0.1/other"]);
    let (status, updated) = put(&update).await;
    assert_eq!(status, 200, "{updated}");
    assert_eq!(updated["redirect_uris"], update["redirect_uris"]);
    assert_eq!(updated["token_endpoint_auth_method"], "none", "an update without a method is no confidential client");
    // It gives out another token with each update.
    let token = updated["registration_access_token"].as_str().unwrap();
    let gone = http.delete(uri).bearer_auth(token).send().await.unwrap();
    assert_eq!(gone.status().as_u16(), 204);
}

/// 200 where 201 is due, registered members that are missing or `null`, secrets for public clients: what the servers answer
/// alone, and what becomes of it.
#[tokio::test]
async fn corrects_quirks_of_server_answers() {
    let Some(bench) = Bench::find() else { return };
    // One that each of them registers.
    let honest = json!({ "client_name": "App", "redirect_uris": ["https://claude.ai/api/mcp/auth_callback"],
        "token_endpoint_auth_method": "none", "scope": "" });
    let evil = json!({ "client_id": "c", "redirect_uris": ["javascript:alert(1)"] });
    let mut quirks = Vec::new();
    for server in Server::all(bench) {
        let alone = server.alone(bench);
        let (status, answer) = register(&alone, &server, &honest).await;
        quirks.extend(quirks_of(server.name, status, &answer));

        let behind = server.behind(bench);
        let (status, answer) = register(&behind, &server, &honest).await;
        let allowed = if server.name == "mcp-oauth" { vec!["mcp-oauth: a secret"] } else { vec![] };
        assert_eq!(quirks_of(server.name, status, &answer), allowed, "{answer}");
        let update = format!("{}{}/c", behind.base, server.path);
        let update = behind.http().put(update).json(&evil).send().await.unwrap();
        assert_eq!(update.status().as_u16(), 400, "{}", server.name);
    }
    println!("alone: {quirks:#?}");
    for kind in ["a status of 200", "a secret", "no client_name"] {
        assert!(quirks.iter().any(|quirk| quirk.ends_with(kind)), "no server has {kind} any more: {quirks:?}");
    }
}

async fn register(standing: &Standing, server: &Server, client: &Value) -> (u16, Value) {
    let answer = standing.http().post(format!("{}{}", standing.base, server.path)).json(client).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Answers that break clients.
fn quirks_of(server: &str, status: u16, answer: &Value) -> Vec<String> {
    let members = answer.as_object().unwrap();
    let missing = ["client_name", "redirect_uris", "token_endpoint_auth_method"];
    let missing = missing.into_iter().filter(|name| !members.contains_key(*name)).map(|name| format!("no {name}"));
    let quirks = [
        (status != 201, format!("a status of {status}")),
        (members.values().any(Value::is_null), "a null".to_owned()),
        (members.get("client_secret").is_some_and(Value::is_string), "a secret".to_owned()),
    ];
    let quirks = quirks.into_iter().filter(|(has, _)| *has).map(|(_, quirk)| quirk).chain(missing);
    quirks.map(|quirk| format!("{server}: {quirk}")).collect()
}
