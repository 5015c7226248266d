// `mcp-remote`, as an application that only knows local servers starts it. Argument: the URL of an MCP endpoint.
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { program, whoOpens } from './browser.mjs';

const [, , url] = process.argv;
const transport = new StdioClientTransport({
  command: process.execPath,
  args: [program('mcp-remote', 'dist', 'proxy.js'), url],
  env: { ...process.env, MCP_REMOTE_CONFIG_DIR: mkdtempSync(join(tmpdir(), 'mcp-remote-')) },
  stderr: 'pipe',
});
whoOpens(transport.stderr);
const client = new Client({ name: 'bench', version: '1.0.0' });
await client.connect(transport);
const answer = await client.callTool({ name: 'echo', arguments: { text: 'hello' } });
console.log(JSON.stringify({ said: answer.content[0].text }));
await client.close();
process.exit(0);
