// As much of k6 as the scripts use: requests that wait for their answers, checks, rates, the turn's number.

import { execFileSync } from 'node:child_process';

/** How often each check held and did not, by its name. */
export const checks = new Map();
export const rates = new Map();

export class Rate {
  total = 0;
  hits = 0;

  constructor(name) {
    rates.set(name, this);
  }

  add(value) {
    this.total += 1;
    if (value) this.hits += 1;
  }
}

const failed = new Rate('http_req_failed');

export function check(reply, named) {
  let all = true;
  for (const [name, holds] of Object.entries(named)) {
    const counted = checks.get(name) ?? { held: 0, failed: 0 };
    checks.set(name, counted);
    const held = Boolean(holds(reply));
    held ? (counted.held += 1) : (counted.failed += 1);
    all &&= held;
  }
  return all;
}

/** With the names of headers as k6 writes them. */
function send(method, url, body, { headers }) {
  const lines = Object.entries(headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`]);
  const data = body === null ? [] : ['--data-binary', '@-'];
  const args = ['-sS', '-i', '--http1.1', '-H', 'Expect:', '-X', method, ...lines, ...data, url];
  const answer = execFileSync('curl', args, { input: body ?? '', encoding: 'utf8' });
  const end = answer.indexOf('\r\n\r\n');
  const [first, ...rest] = answer.slice(0, end).split('\r\n');
  const canonical = (name) => name.toLowerCase().replace(/(^|-)[a-z]/g, (c) => c.toUpperCase());
  const status = Number(first.split(' ')[1]);
  failed.add(status >= 400);
  const pairs = rest.map((line) => line.split(/: (.*)/s)).map(([name, value]) => [canonical(name), value]);
  return { status, headers: Object.fromEntries(pairs), body: answer.slice(end + 4) };
}

export default {
  get: (url, params) => send('GET', url, null, params),
  post: (url, body, params) => send('POST', url, body, params),
  scenario: { iterationInTest: 0 },
};
