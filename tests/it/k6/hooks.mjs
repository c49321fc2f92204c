// Leads `k6` and `k6/...` to what stands for them here, and takes the scripts for the modules that they are.

import { readFile } from 'node:fs/promises';

const scripts = new URL('../../../loadtest/k6/', import.meta.url).href;

export async function resolve(specifier, context, next) {
  if (specifier === 'k6' || specifier.startsWith('k6/')) {
    return { url: new URL('./k6.mjs', import.meta.url).href, shortCircuit: true };
  }
  return next(specifier, context);
}

export async function load(url, context, next) {
  if (url.startsWith(scripts)) {
    return { format: 'module', source: await readFile(new URL(url)), shortCircuit: true };
  }
  return next(url, context);
}
