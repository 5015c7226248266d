// `mcp-remote`, as an application that only knows local servers starts it. Arguments: the URL of an MCP endpoint,
// and any of the URL of its metadata document and `step-up` (calls the second tool).
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { endToken, freePort, keptTokens, program, whoOpens } from './browser.mjs';
import { stepUp } from './step-up.mjs';

const [, , url, ...flags] = process.argv;
const metadata = flags.find((flag) => flag.startsWith('https://'));
const folder = mkdtempSync(join(tmpdir(), 'mcp-remote-'));
// With a document, it does not look for a port that is free.
const document = metadata ? [String(await freePort()), '--client-metadata-url', metadata] : [];
const transport = new StdioClientTransport({
  command: process.execPath,
  args: [program('mcp-remote', 'dist', 'proxy.js'), url, ...document],
  env: { ...process.env, MCP_REMOTE_CONFIG_DIR: folder },
  stderr: 'pipe',
});
whoOpens(transport.stderr, () => metadata && transport.close());
const client = new Client({ name: 'bench', version: '1.0.0' });
await client.connect(transport);
const answer = await client.callTool({ name: 'echo', arguments: { text: 'hello' } });
const call = async (name, text) =>
  (await client.callTool({ name, arguments: { text } }, undefined, { timeout: 15_000 })).content[0].text;
const stepped = flags.includes('step-up') ? await stepUp((text) => call('write', text), (text) => call('echo', text)) : {};
let refreshed = false;
const ended = await endToken(folder, url, metadata);
if (ended) {
  const again = await client.callTool({ name: 'echo', arguments: { text: 'again' } });
  refreshed = again.content[0].text === 'again' && keptTokens(folder).tokens.access_token !== ended;
}
console.log(JSON.stringify({ said: answer.content[0].text, refreshed, ...stepped }));
await client.close();
process.exit(0);
