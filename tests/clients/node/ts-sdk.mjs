// The MCP TypeScript SDK. Arguments: `2` or `1`, the URL of an MCP endpoint, and more of the registration as JSON.
import { consent } from './browser.mjs';

const [, , version, url, more = '{}'] = process.argv;
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
  saveTokens: (tokens) => void (kept.tokens = tokens),
  codeVerifier: () => kept.verifier,
  saveCodeVerifier: (verifier) => void (kept.verifier = verifier),
  redirectToAuthorization: async (to) => void (callback = await consent(to)),
};

const connect = async () => {
  const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: provider });
  const client = new Client({ name: 'bench', version: '1.0.0' });
  try {
    await client.connect(transport);
    return client;
  } catch (error) {
    if (!callback) throw error;
    const { searchParams } = callback;
    callback = undefined;
    await transport.finishAuth(searchParams.get('code'), searchParams.get('iss') ?? undefined);
    return undefined;
  }
};
const client = (await connect()) ?? (await connect());
const answer = await client.callTool({ name: 'echo', arguments: { text: 'hello' } });
// It refreshes whenever it is asked for tokens and has a refresh token.
const { access_token, refresh_token } = kept.tokens;
let refreshed = false;
if (refresh_token) {
  await auth(provider, { serverUrl: url });
  const { content } = await client.callTool({ name: 'echo', arguments: { text: 'again' } });
  refreshed = kept.tokens.access_token !== access_token && content[0].text === 'again';
}
console.log(JSON.stringify({ client: kept.client, said: answer.content[0].text, refreshed }));
await client.close();
