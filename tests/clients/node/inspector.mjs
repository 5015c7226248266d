// The MCP Inspector on the command line. Argument: the URL of an MCP endpoint.
import { spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { endToken, keptTokens, program, whoOpens } from './browser.mjs';

const [, , url] = process.argv;
const home = mkdtempSync(join(tmpdir(), 'inspector-'));
// There may be no keyring, and the second call is to know the tokens of the first.
const own = { HOME: home, MCP_AUTO_OPEN_ENABLED: 'true', MCP_INSPECTOR_SECRET_STORE: 'file' };

async function call(text) {
  const call = ['--method', 'tools/call', '--tool-name', 'echo', '--tool-arg', `text=${text}`];
  const inspector = spawn(
    process.execPath,
    [program('@modelcontextprotocol/inspector', 'clients', 'launcher', 'build', 'index.js'), '--cli', url, ...call],
    { env: { ...process.env, ...own }, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  whoOpens(inspector.stderr);
  let out = '';
  inspector.stdout.on('data', (data) => (out += data));
  const [code] = await new Promise((resolve) => inspector.on('close', (...how) => resolve(how)));
  if (code !== 0) throw new Error(`the inspector ends with ${code}: ${out}`);
  return JSON.parse(out).content[0].text;
}

const said = await call('hello');
let refreshed = false;
const ended = await endToken(home, url);
if (ended) {
  refreshed = (await call('again')) === 'again' && keptTokens(home).tokens.access_token !== ended;
}
console.log(JSON.stringify({ said, refreshed }));
