// A person at a browser, of servers that do not ask.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';

/// Follows an authorization URL to the client's callback; with `deliver` it is asked for there, without it is returned.
export async function consent(url, { deliver = false } = {}) {
  let next = String(url);
  const cookies = new Map();
  for (let step = 0; step < 15; step++) {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const answer = await fetch(next, { redirect: 'manual', headers: cookie ? { cookie } : {} });
    remember(cookies, answer);
    const location = answer.headers.get('location');
    if (!location) throw new Error(`the way ends at ${next}: ${answer.status} ${(await answer.text()).slice(0, 500)}`);
    next = new URL(location, next).href;
    const { searchParams } = new URL(next);
    if (searchParams.has('code') || searchParams.has('error')) {
      if (deliver) await visit(next);
      return new URL(next);
    }
  }
  throw new Error('the way to the callback has no end');
}

/// A browser takes longer to come back than some clients take to listen.
async function visit(callback) {
  for (let left = 100; ; left--) {
    try {
      return await fetch(callback);
    } catch (error) {
      if (left === 0) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

function remember(cookies, answer) {
  for (const line of answer.headers.getSetCookie()) {
    const [name, value] = line.split(';')[0].split('=');
    cookies.set(name.trim(), value);
  }
}

/// Ends the access token that a program has kept in a file under `folder`, as if its time had come, and says which it was;
/// `undefined` if it has no refresh token, or the server has no way to end one. A `client_id` that the program was given is not
/// in a file.
export async function endToken(folder, url, given) {
  const kept = keptTokens(folder);
  const server = await fetch(new URL('/.well-known/oauth-authorization-server', url)).then((answer) => answer.json());
  if (!kept?.tokens.refresh_token || !server.revocation_endpoint) return undefined;
  const body = new URLSearchParams({ client_id: given ?? kept.client_id, token: kept.tokens.access_token });
  const answer = await fetch(server.revocation_endpoint, { method: 'POST', body });
  if (!answer.ok) throw new Error(`${server.revocation_endpoint}: ${answer.status}`);
  return kept.tokens.access_token;
}

/// What a program keeps of its tokens and its client, in whatever files.
export function keptTokens(folder) {
  const found = {};
  const look = (value) => {
    if (typeof value === 'string' && value.startsWith('{')) return look(JSON.parse(value));
    if (typeof value !== 'object' || value === null) return;
    if (typeof value.access_token === 'string') found.tokens = value;
    if (typeof value.client_id === 'string') found.client_id ??= value.client_id;
    Object.values(value).forEach(look);
  };
  for (const name of readdirSync(folder, { recursive: true })) {
    const path = join(folder, name);
    if (!path.endsWith('.json') || !statSync(path).isFile()) continue;
    look(JSON.parse(readFileSync(path, 'utf8')));
  }
  return found.tokens && found;
}

/// A port that is free now.
export async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/// The path of a file of an installed package.
export function program(name, ...path) {
  return join(import.meta.dirname, 'node_modules', name, ...path);
}

/// Does what a program asks for that prints a URL to be opened in a browser. A program may wait for its callback without an end:
/// `rejected` is called if there is none.
export function whoOpens(output, rejected = () => {}) {
  let printed = '';
  const opened = new Set();
  output.on('data', (data) => {
    process.stderr.write(data);
    printed += data;
    for (const [url] of printed.matchAll(/https?:\/\/\S*client_id=\S*(?=\s)/g)) {
      if (opened.has(url)) continue;
      opened.add(url);
      consent(url, { deliver: true }).catch((error) => {
        console.error(error);
        rejected();
      });
    }
  });
}
