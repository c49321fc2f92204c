// Clients of the gateway at BASE_URL, and the simulated provider's directives.

import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';

const base = process.env.BASE_URL;
if (!base) throw new Error('BASE_URL is not set: pytest starts these tests, see ../test_node.py');

// A retry could hide a failure, and a hang should fail soon.
const options = { apiKey: 'any', maxRetries: 0, timeout: 20_000 };

export const openai = new OpenAI({ ...options, baseURL: `${base}/v1` });
export const anthropic = new Anthropic({ ...options, baseURL: base });

// One model of each provider's dialect.
export const OPENAIS = 'sim-1';
export const ANTHROPICS = 'claude-sim';
export const MODELS = [OPENAIS, ANTHROPICS];

export const HELLO = [{ role: 'user', content: 'Hello' }];
// The text of one token.
export const TOKEN = 'token ';
// What the simulated provider thinks.
export const THOUGHT = 'thought '.repeat(4);
// The smallest PNG, and what the simulated provider says of it.
export const PICTURE =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
export const SEEN = 'I see an image of image/png, 70 bytes.';

// The schema of a tool's arguments, and what the simulated provider makes of it.
export const SCHEMA = {
  type: 'object',
  properties: { city: { type: 'string' }, days: { type: 'integer' } },
  required: ['city', 'days'],
  additionalProperties: false,
};
export const ARGUMENTS = { city: 'text', days: 1 };

// What the simulated provider shall do, without pauses; for `user` or `metadata.user_id`.
export function directives(items = {}) {
  const chosen = { first_token_ms: 0, token_ms: 0, ...items };
  return Object.entries(chosen)
    .map(([key, value]) => `${key}=${value}`)
    .join(',');
}

// Everything that a stream has.
export async function all(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}
