// The MCP Inspector on the command line. Arguments: the URL of an MCP endpoint, and any of the URL of its
// metadata document and `step-up` (calls the second tool).
import { spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { endToken, keptTokens, program, whoOpens } from './browser.mjs';
import { stepUp } from './step-up.mjs';

const [, , url, ...flags] = process.argv;
const metadata = flags.find((flag) => flag.startsWith('https://'));
const home = mkdtempSync(join(tmpdir(), 'inspector-'));
// There may be no keyring, and the second call is to know the tokens of the first.
const own = { HOME: home, MCP_AUTO_OPEN_ENABLED: 'true', MCP_INSPECTOR_SECRET_STORE: 'file' };

async function call(text, tool = 'echo') {
  const call = ['--method', 'tools/call', '--tool-name', tool, '--tool-arg', `text=${text}`];
  if (metadata) call.push('--client-metadata-url', metadata);
  const inspector = spawn(
    process.execPath,
    [program('@modelcontextprotocol/inspector', 'clients', 'launcher', 'build', 'index.js'), '--cli', url, ...call],
    { env: { ...process.env, ...own }, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  whoOpens(inspector.stderr, () => metadata && inspector.kill());
  let out = '';
  inspector.stdout.on('data', (data) => (out += data));
  const [code] = await new Promise((resolve) => inspector.on('close', (...how) => resolve(how)));
  if (code !== 0) throw new Error(`the inspector ends with ${code}: ${out}`);
  return JSON.parse(out).content[0].text;
}

const said = await call('hello');
const stepped = flags.includes('step-up') ? await stepUp((text) => call(text, 'write'), call) : {};
let refreshed = false;
const ended = await endToken(home, url, metadata);
if (ended) {
  refreshed = (await call('again')) === 'again' && keptTokens(home).tokens.access_token !== ended;
}
console.log(JSON.stringify({ said, refreshed, ...stepped }));
