//! A minimal authorization server: enough of OAuth 2.1 for clients to sign in, without any check of registrations.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tower_dcr::Registration;
use tower_dcr::clients::ConsentFacts;
use tower_dcr::clients::Registrar;
use tower_dcr::documents::VerifiedClient;
use tower_dcr::redirect_uri::matches;
use tower_dcr::rules::Identities;
use url::Url;

use crate::{consent, lines};

/// The state of the server.
#[derive(Clone)]
pub(crate) struct Server {
    auto_approve: bool,
    /// The ledger of clients; `None` without one.
    registrar: Option<Registrar>,
    state: Arc<Mutex<Stores>>,
}

#[derive(Default)]
struct Stores {
    clients: HashMap<String, Map<String, Value>>,
    /// Authorization requests that wait for consent, and codes that wait for their client.
    pending: HashMap<String, Authorization>,
    codes: HashMap<String, Authorization>,
    access: HashMap<String, Grant>,
    refresh: HashMap<String, Grant>,
}

/// The client that a token was issued to, and its scope.
#[derive(Clone)]
struct Grant {
    client_id: String,
    scope: String,
}

/// The scope of most requests at the MCP endpoint, and the one for the rest of them. A client gets the first one by
/// default, and asks for the other once it needs it.
pub(crate) const SCOPES: [&str; 2] = ["mcp", "mcp:write"];

/// One authorization request.
#[derive(Clone)]
pub(crate) struct Authorization {
    pub(crate) client_id: String,
    pub(crate) redirect_uri: String,
    issuer: String,
    pub(crate) scope: String,
    state: Option<String>,
    challenge: String,
    created: Instant,
}

const CODE_LIFETIME: Duration = Duration::from_mins(1);

impl Server {
    pub(crate) fn new(auto_approve: bool) -> Self {
        Self { auto_approve, registrar: None, state: Arc::default() }
    }

    /// Shows data of `registrar` on the consent page.
    pub(crate) fn with_registrar(self, registrar: Registrar) -> Self {
        Self { registrar: Some(registrar), ..self }
    }

    /// Returns the data that the consent page shows about a client.
    async fn facts(&self, client_id: &str, verified: Option<&VerifiedClient>, redirect_uri: &str) -> ConsentFacts {
        if let Some(registrar) = &self.registrar {
            // An unreadable record is shown as an unknown client.
            let facts = registrar.consent_facts(client_id, redirect_uri).await.ok().flatten();
            // A client that is named by a URL gets its record with its first code.
            let of_document = || verified.map(|client| client.consent_facts(redirect_uri));
            return facts.or_else(of_document).unwrap_or_default();
        }
        // Without a ledger: the document that the client sent.
        let json = self.stores().clients.get(client_id).map(|client| json!(client).to_string()).unwrap_or_default();
        match Registration::parse(json.as_bytes()) {
            Ok(client) => ConsentFacts::new(&client, redirect_uri, &Identities::new("none")),
            Err(_) => ConsentFacts::default(),
        }
    }

    /// Returns the scope of an access token; `None` if the token is not valid.
    pub(crate) fn scope_of(&self, access_token: &str) -> Option<String> {
        self.stores().access.get(access_token).map(|grant| grant.scope.clone())
    }

    /// Drops the client, its codes and its tokens (RFC 7592 section 2.3).
    pub(crate) fn forget(&self, client_id: &str) {
        let mut stores = self.stores();
        stores.clients.remove(client_id);
        stores.pending.retain(|_, authorization| authorization.client_id != client_id);
        stores.codes.retain(|_, authorization| authorization.client_id != client_id);
        stores.access.retain(|_, grant| grant.client_id != client_id);
        stores.refresh.retain(|_, grant| grant.client_id != client_id);
    }

    pub(crate) fn has_refresh_token(&self, client_id: &str) -> bool {
        self.stores().refresh.values().any(|grant| grant.client_id == client_id)
    }

    /// Restores a client as it was registered.
    pub(crate) fn restore(&self, client_id: &str, registration: &str) {
        if let Ok(mut client) = serde_json::from_str::<Map<String, Value>>(registration) {
            client.insert("client_id".into(), client_id.into());
            self.stores().clients.insert(client_id.to_owned(), client);
        }
    }

    /// Returns the metadata of a client: of the one that the gate has verified, or of one that registered. There is no other way for
    /// a URL to be a client here.
    fn client(&self, client_id: &str, verified: Option<&VerifiedClient>) -> Option<Map<String, Value>> {
        match verified {
            Some(client) if client.url().as_str() == client_id => serde_json::from_slice(client.document()).ok(),
            _ => self.stores().clients.get(client_id).cloned(),
        }
    }

    fn stores(&self) -> MutexGuard<'_, Stores> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the server's own URL by the name that the client used: `localhost` or `127.0.0.1`.
pub(crate) fn issuer(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    format!("http://{host}")
}

/// Serves the metadata of RFC 8414. The preset's own layer announces the metadata that its rules allow.
pub(crate) async fn metadata(headers: HeaderMap) -> Json<Value> {
    let issuer = issuer(&headers);
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "registration_endpoint": format!("{issuer}/register"),
        "revocation_endpoint": format!("{issuer}/revoke"),
        "scopes_supported": SCOPES,
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": ["none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
    }))
}

/// Implements RFC 7591 without a single check: stores the document and responds with all of it.
pub(crate) async fn register(State(server): State<Server>, Json(mut client): Json<Map<String, Value>>) -> Response {
    let client_id = random();
    client.insert("client_id".into(), client_id.clone().into());
    server.stores().clients.insert(client_id, client.clone());
    (StatusCode::CREATED, Json(client)).into_response()
}

#[derive(Deserialize)]
pub(crate) struct AuthorizationRequest {
    client_id: String,
    redirect_uri: Option<String>,
    response_type: Option<String>,
    scope: Option<String>,
    state: Option<String>,
    code_challenge: Option<String>,
    code_challenge_method: Option<String>,
}

pub(crate) async fn authorize(
    State(server): State<Server>,
    headers: HeaderMap,
    verified: Option<Extension<VerifiedClient>>,
    Query(request): Query<AuthorizationRequest>,
) -> Response {
    let verified = verified.map(|Extension(client)| client);
    let Some(client) = server.client(&request.client_id, verified.as_ref()) else {
        return page(StatusCode::BAD_REQUEST, "This application is not registered here.");
    };
    let registered: Vec<&str> =
        client.get("redirect_uris").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let redirect_uri = match (&request.redirect_uri, registered.as_slice()) {
        // The crate's own comparison; string equality for URIs that its rules would reject.
        (Some(uri), _) if registered.iter().any(|known| known == uri || matches(known, uri)) => uri.clone(),
        (None, [only]) => (*only).to_owned(),
        // RFC 6749 section 4.1.2.1: never redirect to a URI that was not registered.
        _ => {
            return page(StatusCode::BAD_REQUEST, "The redirect URI is not registered for this application.");
        }
    };
    let authorization = Authorization {
        client_id: request.client_id,
        redirect_uri,
        issuer: issuer(&headers),
        // RFC 6749 section 3.3 lets a server ignore a part of the scope. It is in the answer of the token endpoint.
        scope: within(request.scope.as_deref().unwrap_or(SCOPES[0]), SCOPES),
        state: request.state,
        challenge: request.code_challenge.unwrap_or_default(),
        created: Instant::now(),
    };
    if request.response_type.as_deref() != Some("code") {
        return authorization.answer(&[("error", "unsupported_response_type")]);
    }
    if authorization.challenge.is_empty() || request.code_challenge_method.as_deref() != Some("S256") {
        return authorization
            .answer(&[("error", "invalid_request"), ("error_description", "PKCE with S256 is required")]);
    }
    if authorization.scope.is_empty() {
        return authorization.answer(&[("error", "invalid_scope")]);
    }
    if let Some(document) = verified.as_ref().filter(|document| document.url().as_str() == authorization.client_id) {
        lines::sign_in(&client, &authorization.redirect_uri, document.url().as_str());
    }
    if server.auto_approve {
        return approve(&server, authorization);
    }
    let id = random();
    let facts = server.facts(&authorization.client_id, verified.as_ref(), &authorization.redirect_uri).await;
    let html = consent::page(&facts, &authorization, &id);
    server.stores().pending.insert(id, authorization);
    ([(header::X_FRAME_OPTIONS, "DENY"), (header::CACHE_CONTROL, "no-store")], Html(html)).into_response()
}

#[derive(Deserialize)]
pub(crate) struct Decision {
    id: String,
    approve: Option<String>,
}

pub(crate) async fn decide(State(server): State<Server>, Form(decision): Form<Decision>) -> Response {
    let Some(authorization) = server.stores().pending.remove(&decision.id) else {
        return page(StatusCode::BAD_REQUEST, "This request is unknown or already answered.");
    };
    match decision.approve {
        Some(_) => approve(&server, authorization),
        None => authorization.answer(&[("error", "access_denied")]),
    }
}

fn approve(server: &Server, authorization: Authorization) -> Response {
    let code = random();
    let response = authorization.answer(&[("code", &code)]);
    server.stores().codes.insert(code, authorization);
    response
}

#[cfg(test)]
impl Authorization {
    /// One for the scope `mcp`.
    pub(crate) fn example() -> Self {
        let [client_id, redirect_uri, issuer, challenge] = ["1", "http://localhost/cb", "", ""].map(str::to_owned);
        let (scope, state, created) = ("mcp".to_owned(), None, Instant::now());
        Self { client_id, redirect_uri, issuer, scope, state, challenge, created }
    }
}

impl Authorization {
    /// Sends the browser back to the client, with `iss` (RFC 9207) and `state`.
    fn answer(&self, parameters: &[(&str, &str)]) -> Response {
        let Ok(mut location) = Url::parse(&self.redirect_uri) else {
            return page(StatusCode::BAD_REQUEST, "The redirect URI of this application is invalid.");
        };
        location.query_pairs_mut().extend_pairs(parameters).append_pair("iss", &self.issuer);
        if let Some(state) = &self.state {
            location.query_pairs_mut().append_pair("state", state);
        }
        (StatusCode::FOUND, [(header::LOCATION, location.as_str())]).into_response()
    }
}

#[derive(Deserialize)]
pub(crate) struct TokenRequest {
    grant_type: String,
    client_id: Option<String>,
    code: Option<String>,
    code_verifier: Option<String>,
    redirect_uri: Option<String>,
    refresh_token: Option<String>,
    scope: Option<String>,
}

pub(crate) async fn token(
    State(server): State<Server>,
    verified: Option<Extension<VerifiedClient>>,
    Form(request): Form<TokenRequest>,
) -> Response {
    let client_id = request.client_id.clone().unwrap_or_default();
    let Some(client) = server.client(&client_id, verified.as_deref()) else {
        return token_error(StatusCode::UNAUTHORIZED, "invalid_client");
    };
    let mut stores = server.stores();
    let granted = match request.grant_type.as_str() {
        "authorization_code" => stores.redeem(&request, &client_id),
        "refresh_token" => request.refresh_token.as_ref().and_then(|token| stores.refresh.remove(token)),
        _ => return token_error(StatusCode::BAD_REQUEST, "unsupported_grant_type"),
    };
    let Some(grant) = granted.filter(|grant| grant.client_id == client_id) else {
        return token_error(StatusCode::BAD_REQUEST, "invalid_grant");
    };
    // RFC 6749 section 6: a refresh may ask for less, and the next refresh token has the whole scope again.
    let scope = match request.scope.as_deref().filter(|_| request.grant_type == "refresh_token") {
        Some(asked) => within(asked, grant.scope.split(' ')),
        None => grant.scope.clone(),
    };
    if scope.is_empty() {
        return token_error(StatusCode::BAD_REQUEST, "invalid_scope");
    }
    let (access, refresh) = (random(), random());
    let mut answer = json!({ "access_token": access, "token_type": "Bearer", "expires_in": 3600, "scope": scope });
    if let Some(members) = answer.as_object_mut().filter(|_| may_refresh(&client)) {
        members.insert("refresh_token".into(), refresh.clone().into());
        stores.refresh.insert(refresh, grant);
    }
    stores.access.insert(access, Grant { client_id, scope });
    ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response()
}

#[derive(Deserialize)]
pub(crate) struct RevocationRequest {
    token: String,
    client_id: String,
}

/// Implements RFC 7009: a token that is unknown or another client's gets the same response as a revoked one.
pub(crate) async fn revoke(State(server): State<Server>, Form(request): Form<RevocationRequest>) -> StatusCode {
    let mut guard = server.stores();
    let stores = &mut *guard;
    for tokens in [&mut stores.access, &mut stores.refresh] {
        if tokens.get(&request.token).is_some_and(|grant| grant.client_id == request.client_id) {
            tokens.remove(&request.token);
        }
    }
    StatusCode::OK
}

impl Stores {
    /// Returns the grant if the code is this client's and comes with the verifier (RFC 7636 section 4.6). A code works
    /// once.
    fn redeem(&mut self, request: &TokenRequest, client_id: &str) -> Option<Grant> {
        let authorization = self.codes.remove(request.code.as_ref()?)?;
        let verifier = request.code_verifier.as_deref().unwrap_or_default();
        let is_redeemed = authorization.client_id == client_id
            && authorization.created.elapsed() < CODE_LIFETIME
            && request.redirect_uri.as_ref().is_none_or(|uri| *uri == authorization.redirect_uri)
            && BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) == authorization.challenge;
        is_redeemed.then_some(Grant { client_id: authorization.client_id, scope: authorization.scope })
    }
}

/// Returns `true` if the client registered the grant. A gate rejects the refresh of others.
fn may_refresh(client: &Map<String, Value>) -> bool {
    let grants = client.get("grant_types").and_then(Value::as_array);
    grants.is_some_and(|grants| grants.iter().any(|grant| grant == "refresh_token"))
}

/// Returns the scopes that are in `asked`, and among `known`.
fn within<'a>(asked: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let is_asked = |known: &&str| asked.split(' ').any(|asked| asked == *known);
    known.into_iter().filter(is_asked).collect::<Vec<_>>().join(" ")
}

fn token_error(status: StatusCode, error: &str) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], Json(json!({ "error": error }))).into_response()
}

fn page(status: StatusCode, text: &str) -> Response {
    (status, Html(format!("<!doctype html><title>Sign in</title><p>{text}"))).into_response()
}

/// Returns 256 unguessable bits.
pub(crate) fn random() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}
