// `openid-client`: `oauth2` or `oidc`, the issuer, and the URL of an MCP endpoint (`-` for none).
import * as client from 'openid-client';
import { consent } from './browser.mjs';
import { call } from './call.mjs';

const [, , algorithm, issuer, mcp] = process.argv;
const redirect_uri = 'http://127.0.0.1:33420/callback';
const metadata = {
  client_name: 'openid-client',
  application_type: 'native',
  redirect_uris: [redirect_uri],
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  token_endpoint_auth_method: 'none',
  ...(algorithm === 'oidc' && { scope: 'openid' }),
};
const config = await client.dynamicClientRegistration(new URL(issuer), metadata, client.None(), {
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
const tokens = await client.authorizationCodeGrant(config, await consent(authorize), {
  pkceCodeVerifier: verifier,
  expectedState: state,
});
const said = algorithm === 'oidc' ? tokens.claims().sub : await call(mcp, tokens.access_token);
console.log(JSON.stringify({ client: config.clientMetadata(), said }));
