//! RFC 7592 on a server that nobody here wrote, through the proxy.

use serde_json::{Value, json};

use crate::bench::Bench;
use crate::servers::Server;

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
    let (status, refused) = put(&update).await;
    assert_eq!((status, &refused["error"]), (400, &json!("invalid_redirect_uri")));
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
