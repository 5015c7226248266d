// The MCP Inspector on the command line. Argument: the URL of an MCP endpoint.
import { spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { program, whoOpens } from './browser.mjs';

const [, , url] = process.argv;
const home = mkdtempSync(join(tmpdir(), 'inspector-'));
const call = ['--method', 'tools/call', '--tool-name', 'echo', '--tool-arg', 'text=hello'];
const inspector = spawn(
  process.execPath,
  [program('@modelcontextprotocol/inspector', 'clients', 'launcher', 'build', 'index.js'), '--cli', url, ...call],
  { env: { ...process.env, HOME: home, MCP_AUTO_OPEN_ENABLED: 'true' }, stdio: ['ignore', 'pipe', 'pipe'] },
);
whoOpens(inspector.stderr);
let out = '';
inspector.stdout.on('data', (data) => (out += data));
const [code] = await new Promise((resolve) => inspector.on('close', (...how) => resolve(how)));
if (code !== 0) throw new Error(`the inspector ends with ${code}: ${out}`);
console.log(JSON.stringify({ said: JSON.parse(out).content[0].text }));
