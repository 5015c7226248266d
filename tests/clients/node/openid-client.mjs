// `openid-client`: `oauth2` or `oidc`, the issuer, the URL of an MCP endpoint (`-` for none), and how it authenticates: `none`,
// `client_secret_basic`, or `private_key_jwt`.
import * as client from 'openid-client';
import { consent } from './browser.mjs';
import { call } from './call.mjs';

const [, , algorithm, issuer, mcp, method = 'none'] = process.argv;
const keys = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
const publicKey = async () => ({ ...(await crypto.subtle.exportKey('jwk', keys.publicKey)), alg: 'ES256', kid: 'own', use: 'sig' });
const redirect_uri = 'http://127.0.0.1:33420/callback';
const metadata = {
  client_name: 'openid-client',
  application_type: 'native',
  redirect_uris: [redirect_uri],
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  token_endpoint_auth_method: method,
  ...(method === 'private_key_jwt' && { jwks: { keys: [await publicKey()] } }),
  ...(algorithm === 'oidc' && { scope: 'openid' }),
};
const authentication = {
  none: client.None(),
  // With the secret that it is given.
  client_secret_basic: client.ClientSecretBasic(),
  private_key_jwt: client.PrivateKeyJwt({ key: keys.privateKey, kid: 'own' }),
}[method];
const config = await client.dynamicClientRegistration(new URL(issuer), metadata, authentication, {
  algorithm,
  execute: [client.allowInsecureRequests],
});

const verifier = client.randomPKCECodeVerifier();
const state = client.randomState();
const authorize = client.buildAuthorizationUrl(config, {
  redirect_uri,
  ...(algorithm === 'oidc' ? { scope: 'openid' } : mcp === '-' ? {} : { scope: 'mcp' }),
  code_challenge: await client.calculatePKCECodeChallenge(verifier),
  code_challenge_method: 'S256',
  state,
});
let tokens = await client.authorizationCodeGrant(config, await consent(authorize), {
  pkceCodeVerifier: verifier,
  expectedState: state,
});
const said = algorithm === 'oidc' ? tokens.claims().sub : await call(mcp, tokens.access_token);

let [refreshed, revoked] = [false, false];
if (tokens.refresh_token) {
  tokens = await client.refreshTokenGrant(config, tokens.refresh_token);
  refreshed = algorithm === 'oidc' ? tokens.access_token !== undefined : (await call(mcp, tokens.access_token)) === said;
}
if (config.serverMetadata().revocation_endpoint) {
  await client.tokenRevocation(config, tokens.access_token);
  revoked = mcp === '-' || (await call(mcp, tokens.access_token).catch(() => 'none')) === 'none';
}
console.log(JSON.stringify({ client: config.clientMetadata(), said, refreshed, revoked }));
