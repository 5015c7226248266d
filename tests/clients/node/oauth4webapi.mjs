// `oauth4webapi`: the issuer, the URL of an MCP endpoint (`-` for none), and more URLs of resources that tokens are for (RFC 8707).
import * as oauth from 'oauth4webapi';
import { consent } from './browser.mjs';
import { call } from './call.mjs';

const [, , issuer, mcp, ...resources] = process.argv;
const insecure = { [oauth.allowInsecureRequests]: true };
const url = new URL(issuer);
const discovery = await oauth.discoveryRequest(url, { algorithm: 'oauth2', ...insecure });
const server = await oauth.processDiscoveryResponse(url, discovery);

const redirect_uri = 'http://127.0.0.1:33419/callback';
const registration = await oauth.dynamicClientRegistrationRequest(
  server,
  {
    client_name: 'oauth4webapi',
    redirect_uris: [redirect_uri],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
  },
  insecure,
);
const client = await oauth.processDynamicClientRegistrationResponse(registration);

const verifier = oauth.generateRandomCodeVerifier();
const state = oauth.generateRandomState();
const authorize = new URL(server.authorization_endpoint);
const named = resources.map((resource) => ['resource', resource]);
const asked = new URLSearchParams({
  client_id: client.client_id,
  redirect_uri,
  response_type: 'code',
  code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
  code_challenge_method: 'S256',
  state,
  ...(mcp !== '-' && { scope: 'mcp' }),
});
named.forEach((pair) => asked.append(...pair));
authorize.search = asked;
const parameters = oauth.validateAuthResponse(server, client, await consent(authorize), state);
const token = await oauth.authorizationCodeGrantRequest(server, client, oauth.None(), parameters, redirect_uri, verifier, {
  ...insecure,
  additionalParameters: named,
});
let tokens = await oauth.processAuthorizationCodeResponse(server, client, token);
const said = await call(mcp, tokens.access_token);

let [refreshed, revoked] = [false, false];
if (tokens.refresh_token) {
  const refresh = await oauth.refreshTokenGrantRequest(server, client, oauth.None(), tokens.refresh_token, {
    ...insecure,
    additionalParameters: named,
  });
  tokens = await oauth.processRefreshTokenResponse(server, client, refresh);
  refreshed = (await call(mcp, tokens.access_token)) === said;
}
if (server.revocation_endpoint) {
  const revocation = await oauth.revocationRequest(server, client, oauth.None(), tokens.access_token, insecure);
  await oauth.processRevocationResponse(revocation);
  revoked = mcp === '-' || (await call(mcp, tokens.access_token).catch(() => 'none')) === 'none';
}
console.log(JSON.stringify({ client, said, refreshed, revoked }));
