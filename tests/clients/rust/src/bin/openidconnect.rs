//! The crate `openidconnect`: `oauth2` or `oidc`, the issuer, and the URL of an MCP endpoint.
//!
//! With `oauth2`, the document of RFC 8414 is read without its help, which wants keys for ID tokens.

use std::collections::BTreeMap;

use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreClientAuthMethod, CoreClientRegistrationRequest, CoreJwsSigningAlgorithm,
    CoreProviderMetadata, CoreResponseType, CoreSubjectIdentifierType,
};
use openidconnect::registration::EmptyAdditionalClientMetadata;
use openidconnect::{
    AuthUrl, AuthorizationCode, ClientName, CsrfToken, IssuerUrl, JsonWebKeySetUrl, Nonce, OAuth2TokenResponse,
    PkceCodeChallenge, RedirectUrl, RegistrationUrl, ResponseTypes, Scope, TokenResponse, TokenUrl,
};
use serde_json::{Value, json};
use test_clients_rust::{Error, call, consent, parameter};

const REDIRECT_URI: &str = "http://127.0.0.1:33423/callback";

#[tokio::main]
async fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [protocol, issuer, mcp] = arguments.as_slice() else {
        return Err("oauth2 or oidc, issuer, MCP endpoint".into());
    };
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
    let issuer = IssuerUrl::new(issuer.clone())?;
    let server = if protocol == "oidc" {
        CoreProviderMetadata::discover_async(issuer, &http).await?
    } else {
        oauth2(issuer, &http).await?
    };

    let redirect_uri = RedirectUrl::new(REDIRECT_URI.into())?;
    let name = BTreeMap::from([(None, ClientName::new("openidconnect".into()))]);
    let registration = CoreClientRegistrationRequest::new(vec![redirect_uri.clone()], EmptyAdditionalClientMetadata {})
        .set_client_name(Some(name.into_iter().collect()))
        .set_application_type(Some(openidconnect::core::CoreApplicationType::Native))
        .set_token_endpoint_auth_method(Some(CoreClientAuthMethod::None))
        .set_response_types(Some(vec![ResponseTypes::new(vec![CoreResponseType::Code])]));
    let endpoint = server.registration_endpoint().ok_or("no registration endpoint")?.clone();
    let registered = registration.register_async(&endpoint, &http).await?;

    let client =
        CoreClient::from_provider_metadata(server, registered.client_id().clone(), None).set_redirect_uri(redirect_uri);
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let flow = CoreAuthenticationFlow::AuthorizationCode;
    let mut request =
        client.authorize_url(flow, CsrfToken::new_random, Nonce::new_random).set_pkce_challenge(challenge);
    if protocol == "oauth2" {
        request = request.add_scope(Scope::new("mcp".into()));
    }
    let (url, state, nonce) = request.url();
    let callback = consent(url.as_str()).await?;
    if parameter(&callback, "state").as_ref() != Some(state.secret()) {
        return Err("another state".into());
    }
    let code = AuthorizationCode::new(parameter(&callback, "code").ok_or_else(|| callback.to_string())?);
    let tokens = client.exchange_code(code)?.set_pkce_verifier(verifier).request_async(&http).await?;
    let said: Value = if protocol == "oidc" {
        let token = tokens.id_token().ok_or("no ID token")?;
        let claims = token.claims(&client.id_token_verifier(), &nonce)?;
        claims.subject().as_str().into()
    } else {
        call(mcp, tokens.access_token().secret()).await?
    };
    // It ends tokens over https only.
    let refreshed = match tokens.refresh_token() {
        None => false,
        Some(refresh_token) => {
            let again = client.exchange_refresh_token(refresh_token)?.request_async(&http).await?;
            again.access_token().secret() != tokens.access_token().secret()
        }
    };
    let client = json!({ "client_id": registered.client_id().as_str() });
    println!("{}", json!({ "client": client, "said": said, "refreshed": refreshed }));
    Ok(())
}

async fn oauth2(issuer: IssuerUrl, http: &reqwest::Client) -> Result<CoreProviderMetadata, Error> {
    let url = format!("{}/.well-known/oauth-authorization-server", issuer.as_str());
    let document: Value = http.get(url).send().await?.error_for_status()?.json().await?;
    let endpoint = |name: &str| document[name].as_str().map(str::to_owned).ok_or(format!("no {name}"));
    let metadata = CoreProviderMetadata::new(
        issuer.clone(),
        AuthUrl::new(endpoint("authorization_endpoint")?)?,
        JsonWebKeySetUrl::new(format!("{}/jwks", issuer.as_str()))?,
        vec![ResponseTypes::new(vec![CoreResponseType::Code])],
        vec![CoreSubjectIdentifierType::Public],
        vec![CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256],
        openidconnect::EmptyAdditionalProviderMetadata {},
    );
    Ok(metadata
        .set_token_endpoint(Some(TokenUrl::new(endpoint("token_endpoint")?)?))
        .set_registration_endpoint(Some(RegistrationUrl::new(endpoint("registration_endpoint")?)?)))
}
