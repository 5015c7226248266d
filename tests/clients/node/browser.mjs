// A person at a browser, of servers that do not ask.
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
      if (deliver) await fetch(next);
      return new URL(next);
    }
  }
  throw new Error('the way to the callback has no end');
}

function remember(cookies, answer) {
  for (const line of answer.headers.getSetCookie()) {
    const [name, value] = line.split(';')[0].split('=');
    cookies.set(name.trim(), value);
  }
}

/// The path of a file of an installed package.
export function program(name, ...path) {
  return join(import.meta.dirname, 'node_modules', name, ...path);
}

/// Does what a program asks for that prints a URL to be opened in a browser.
export function whoOpens(output) {
  let printed = '';
  const opened = new Set();
  output.on('data', (data) => {
    process.stderr.write(data);
    printed += data;
    for (const [url] of printed.matchAll(/https?:\/\/\S*client_id=\S*(?=\s)/g)) {
      if (opened.has(url)) continue;
      opened.add(url);
      consent(url, { deliver: true }).catch((error) => console.error(error));
    }
  });
}
