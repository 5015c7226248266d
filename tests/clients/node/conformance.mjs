// The scenarios for authorization servers of MCP's conformance suite. Arguments: the issuer, the URL of an MCP endpoint,
// and any of the URL of a metadata document to use as the `client_id` and `forged` to respond to the suite with a state that it has
// not sent. Prints the result of each check.
import { spawn } from 'node:child_process';
import { readFileSync, readdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, program } from './browser.mjs';

const [, , issuer, resource, ...flags] = process.argv;
const forged = flags.includes('forged');

// The suite has none of its own choice.
const port = await freePort();
const callback = `http://127.0.0.1:${port}/callback`;
async function register() {
  const registered = await fetch(`${issuer}/register`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ client_name: 'Conformance', redirect_uris: [callback], token_endpoint_auth_method: 'none' }),
  });
  if (registered.status !== 201) throw new Error(`registration: ${registered.status} ${await registered.text()}`);
  return (await registered.json()).client_id;
}

const client_id = flags.find((flag) => flag.startsWith('https://')) ?? (await register());
const results = mkdtempSync(join(tmpdir(), 'conformance-'));
const suite = spawn(
  process.execPath,
  [
    program('@modelcontextprotocol/conformance', 'dist', 'index.js'),
    ...['authorization', '--url', issuer, '--client-id', client_id, '--resource', resource, '--port', port, '-o', results],
  ],
  { stdio: ['ignore', 'pipe', 'inherit'] },
);
let printed = '';
let asked = false;
suite.stdout.on('data', async (data) => {
  printed += data;
  // It asks for a person, whose browser this is.
  const asks = /^https?:\S+[?&]code_challenge=\S+$/m.exec(printed);
  if (asked || !asks || !/Callback server started/.test(printed)) return;
  asked = true;
  const url = forged ? `${callback}?code=x&state=forged` : asks[0];
  const answer = await fetch(url);
  await answer.text();
  if (!answer.ok || !answer.url.startsWith(callback)) {
    console.error(`${answer.url}: ${answer.status}`);
    suite.kill();
  }
});
const code = await new Promise((resolve) => suite.on('close', resolve));
const scenarios = {};
for (const folder of readdirSync(results)) {
  for (const check of JSON.parse(readFileSync(join(results, folder, 'checks.json'), 'utf8'))) {
    const name = check.id;
    scenarios[name] = check.errorMessage ? `${check.status}: ${check.errorMessage}` : check.status;
  }
}
rmSync(results, { recursive: true });
console.log(printed);
console.log(JSON.stringify({ code, scenarios }));
