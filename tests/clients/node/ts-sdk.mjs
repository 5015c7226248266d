// The MCP TypeScript SDK. Arguments: `2` or `1`, the URL of an MCP endpoint, and any of more of the registration as JSON, the
// URL of its metadata document, `step-up` (calls the second tool), `no-refresh` (keeps no refresh token), `unscoped`
// (registered before, without a scope).
import { consent } from './browser.mjs';
import { stepUp } from './step-up.mjs';

const [, , version, url, ...flags] = process.argv;
const more = flags.find((flag) => flag.startsWith('{')) ?? '{}';
const { Client, StreamableHTTPClientTransport, auth } =
  version === '2'
    ? await import('@modelcontextprotocol/client')
    : {
        ...(await import('@modelcontextprotocol/sdk/client/index.js')),
        ...(await import('@modelcontextprotocol/sdk/client/streamableHttp.js')),
        ...(await import('@modelcontextprotocol/sdk/client/auth.js')),
      };

const redirectUrl = 'http://127.0.0.1:33418/callback';
const kept = {};
let callback;
const provider = {
  redirectUrl,
  clientMetadataUrl: flags.find((flag) => flag.startsWith('https://')),
  clientMetadata: {
    client_name: `TypeScript SDK ${version}`,
    redirect_uris: [redirectUrl],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    ...JSON.parse(more),
  },
  clientInformation: () => kept.client,
  saveClientInformation: (client) => void (kept.client = client),
  tokens: () => kept.tokens,
  saveTokens: ({ refresh_token, ...tokens }) =>
    void (kept.tokens = flags.includes('no-refresh') ? tokens : { ...tokens, refresh_token }),
  codeVerifier: () => kept.verifier,
  saveCodeVerifier: (verifier) => void (kept.verifier = verifier),
  redirectToAuthorization: async (to) => void (callback = await consent(to)),
};

if (flags.includes('unscoped')) {
  const request = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(provider.clientMetadata) };
  kept.client = await fetch(new URL('/register', url), request).then((answer) => answer.json());
}

const finish = async (transport) => {
  const { searchParams } = callback;
  callback = undefined;
  await transport.finishAuth(searchParams.get('code'), searchParams.get('iss') ?? undefined);
};
const connect = async () => {
  const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: provider });
  const client = new Client({ name: 'bench', version: '1.0.0' });
  try {
    await client.connect(transport);
    return client;
  } catch (error) {
    if (!callback) throw error;
    await finish(transport);
    return undefined;
  }
};
const client = (await connect()) ?? (await connect());
const answer = await client.callTool({ name: 'echo', arguments: { text: 'hello' } });
const call = async (name, text) => (await client.callTool({ name, arguments: { text } })).content[0].text;
// The call fails once a person was asked, and is repeated with the new token.
const write = (text) =>
  call('write', text).catch(async (error) => {
    if (!callback) throw error;
    await finish(client.transport);
    return call('write', text);
  });
const stepped = flags.includes('step-up') ? await stepUp(write, (text) => call('echo', text)) : {};
// It refreshes whenever it is asked for tokens and has a refresh token.
const { access_token, refresh_token } = kept.tokens;
let refreshed = false;
if (refresh_token) {
  await auth(provider, { serverUrl: url });
  const { content } = await client.callTool({ name: 'echo', arguments: { text: 'again' } });
  refreshed = kept.tokens.access_token !== access_token && content[0].text === 'again';
  // A refresh keeps the scope.
  if (stepped.wrote) stepped.wrote = await call('write', 'hello');
}
console.log(JSON.stringify({ client: kept.client, said: answer.content[0].text, refreshed, ...stepped }));
await client.close();
