// Runs a script of loadtest/k6 for some turns, one after another, with `k6.mjs` in the place of k6:
// `BASE_URL=... node run.mjs chat 5`. Prints each check with how often it held and did not.

import { register } from 'node:module';

register('./hooks.mjs', import.meta.url);
globalThis.__ENV = process.env;

const [script, turns] = process.argv.slice(2);
const { default: k6, checks, rates } = await import('k6');
const { default: turn, options } = await import(`../../../loadtest/k6/${script}.js`);
for (let n = 0; n < Number(turns); n++) {
  k6.scenario.iterationInTest = n;
  turn();
}

// The thresholds that say "always" or "never" are the scripts' own verdict.
const verdict = { wrong_replies: rates.get('wrong_replies'), http_req_failed: rates.get('http_req_failed') };
for (const [name, rate] of Object.entries(verdict)) {
  const threshold = options.thresholds[name];
  if (String(threshold) !== 'rate==0') throw new Error(`${name}: the threshold is ${threshold}`);
  if (!rate || rate.total === 0) throw new Error(`${name}: nothing was counted`);
  verdict[name] = rate.hits;
}
console.log(JSON.stringify({ checks: Object.fromEntries(checks), verdict }));
