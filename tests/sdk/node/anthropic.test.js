// Anthropic's SDK, with models of its own provider's dialect and of the other's.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';
import { jsonSchemaOutputFormat } from '@anthropic-ai/sdk/helpers/json-schema';

import {
  all,
  ANTHROPICS,
  anthropic,
  ARGUMENTS,
  directives,
  HELLO,
  MODELS,
  PICTURE,
  SCHEMA,
  SEEN,
  THOUGHT,
  TOKEN,
} from './sdk.js';

const TOOLS = [
  { name: 'weather', description: 'Tells it.', input_schema: SCHEMA },
  { name: 'clock', input_schema: { type: 'object' } },
];
const metadata = (items) => ({ metadata: { user_id: directives(items) } });

for (const model of MODELS) {
  const options = { model, max_tokens: 2000 };

  describe(`Anthropic's SDK with ${model}`, () => {
    test('messages', async () => {
      const message = await anthropic.messages.create({
        ...options,
        system: 'Be brief.',
        messages: HELLO,
        ...metadata({ tokens: 5, prompt_tokens: 11 }),
      });
      assert.deepEqual(
        message.content.map((block) => block.text),
        [TOKEN.repeat(5)],
      );
      assert.equal(message.stop_reason, 'end_turn');
      assert.equal(message.usage.input_tokens, 11);
      assert.equal(message.usage.output_tokens, 5);
    });

    test('a stream of messages', async () => {
      const stream = anthropic.messages.stream({
        ...options,
        messages: HELLO,
        ...metadata({ tokens: 5, unicode: true, chunking: 3 }),
      });
      const texts = [];
      stream.on('text', (text) => texts.push(text));
      const message = await stream.finalMessage();
      assert.equal(texts.join(''), 'é"日'.repeat(5));
      assert.equal(message.content[0].text, 'é"日'.repeat(5));
    });

    test('tools over two turns', async () => {
      const call = { ...options, tools: TOOLS, ...metadata({ tool_calls: 2, tokens: 3 }) };
      const first = await anthropic.messages.create({ ...call, messages: HELLO });
      assert.equal(first.stop_reason, 'tool_use');
      assert.deepEqual(
        first.content.map((block) => block.input),
        [ARGUMENTS, {}],
      );
      const results = first.content.map((block) => ({
        type: 'tool_result',
        tool_use_id: block.id,
        content: 'Rain',
      }));
      const messages = [
        ...HELLO,
        { role: 'assistant', content: first.content },
        { role: 'user', content: results },
      ];
      const second = await anthropic.messages.create({ ...call, messages });
      assert.equal(second.content[0].text, TOKEN.repeat(3));
    });

    test('tools in a stream', async () => {
      const stream = anthropic.messages.stream({
        ...options,
        messages: HELLO,
        tools: TOOLS,
        ...metadata({ tool_calls: 2, chunking: 7 }),
      });
      let pieces = 0;
      stream.on('inputJson', () => (pieces += 1));
      const message = await stream.finalMessage();
      assert.deepEqual(
        message.content.map((block) => [block.name, block.input]),
        [
          ['weather', ARGUMENTS],
          ['clock', {}],
        ],
      );
      assert.ok(pieces > 3);
    });

    test('structured output', async () => {
      const message = await anthropic.messages.parse({
        ...options,
        messages: HELLO,
        output_config: { format: jsonSchemaOutputFormat(SCHEMA) },
        ...metadata(),
      });
      assert.deepEqual(message.parsed_output, ARGUMENTS);
    });

    test('a picture', async () => {
      const source = { type: 'base64', media_type: 'image/png', data: PICTURE };
      const message = await anthropic.messages.create({
        ...options,
        messages: [{ role: 'user', content: [{ type: 'image', source }] }],
        ...metadata(),
      });
      assert.equal(message.content[0].text, SEEN);
    });

    test('a stream that is aborted', async () => {
      const stream = await anthropic.messages.create({
        ...options,
        messages: HELLO,
        stream: true,
        ...metadata({ fault: 'stall', after: 6 }),
      });
      let seen = 0;
      // The provider says nothing more: only the abort ends this.
      for await (const event of stream) {
        if (event.type === 'content_block_delta') seen += 1;
        if (seen >= 2) stream.controller.abort();
      }
      assert.ok(seen >= 2);
      const message = await anthropic.messages.create({
        ...options,
        messages: HELLO,
        ...metadata({ tokens: 1 }),
      });
      assert.equal(message.content[0].text, TOKEN);
    });

    test('a stream that breaks off', async () => {
      await assert.rejects(async () => {
        const fault = metadata({ fault: 'truncate', after: 5 });
        await all(
          await anthropic.messages.create({ ...options, messages: HELLO, stream: true, ...fault }),
        );
      }, Anthropic.APIError);
    });

    test('a refusal of the provider', async () => {
      const fault = metadata({ fault: 'retry-after', seconds: 7 });
      await assert.rejects(
        anthropic.messages.create({ ...options, messages: HELLO, ...fault }),
        (error) =>
          error instanceof Anthropic.RateLimitError && error.headers.get('retry-after') === '7',
      );
    });
  });
}

test('thinking comes with its signature, and goes back with it', async () => {
  const call = {
    model: ANTHROPICS,
    max_tokens: 2000,
    thinking: { type: 'enabled', budget_tokens: 1024 },
    tools: TOOLS,
    ...metadata({ tool_calls: 1, tokens: 3 }),
  };
  const first = await anthropic.messages.stream({ ...call, messages: HELLO }).finalMessage();
  assert.deepEqual(
    first.content.map((block) => block.type),
    ['thinking', 'tool_use'],
  );
  assert.equal(first.content[0].thinking, THOUGHT);
  const result = { type: 'tool_result', tool_use_id: first.content[1].id, content: 'Rain' };
  const messages = [
    ...HELLO,
    { role: 'assistant', content: first.content },
    { role: 'user', content: [result] },
  ];
  const second = await anthropic.messages.create({ ...call, messages });
  assert.equal(second.content[1].text, TOKEN.repeat(3));

  first.content[0].thinking = 'something else';
  await assert.rejects(
    anthropic.messages.create({ ...call, messages }),
    Anthropic.BadRequestError,
  );
});
