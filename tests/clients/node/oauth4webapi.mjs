// `oauth4webapi`: the issuer, and the URL of an MCP endpoint.
import * as oauth from 'oauth4webapi';
import { consent } from './browser.mjs';
import { call } from './call.mjs';

const [, , issuer, mcp] = process.argv;
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
authorize.search = new URLSearchParams({
  client_id: client.client_id,
  redirect_uri,
  response_type: 'code',
  code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
  code_challenge_method: 'S256',
  state,
  ...(mcp !== '-' && { scope: 'mcp' }),
});
const parameters = oauth.validateAuthResponse(server, client, await consent(authorize), state);
const token = await oauth.authorizationCodeGrantRequest(server, client, oauth.None(), parameters, redirect_uri, verifier, insecure);
const { access_token } = await oauth.processAuthorizationCodeResponse(server, client, token);
console.log(JSON.stringify({ client, said: await call(mcp, access_token) }));
