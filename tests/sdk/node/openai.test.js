// OpenAI's SDK, with models of its own provider's dialect and of the other's.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import OpenAI from 'openai';
import { zodResponseFormat, zodTextFormat } from 'openai/helpers/zod';
import { z } from 'zod';

import {
  all,
  ANTHROPICS,
  ARGUMENTS,
  directives,
  HELLO,
  MODELS,
  openai,
  PICTURE,
  SCHEMA,
  SEEN,
  THOUGHT,
  TOKEN,
} from './sdk.js';

const FUNCTION = { name: 'weather', description: 'Tells it.', parameters: SCHEMA };
const TOOLS = [{ type: 'function', function: FUNCTION }];
const Place = z.object({ city: z.string(), population: z.number(), capital: z.boolean() });
const PLACE = { city: 'text', population: 1.5, capital: true };

for (const model of MODELS) {
  describe(`OpenAI's SDK with ${model}`, () => {
    test('chat', async () => {
      const completion = await openai.chat.completions.create({
        model,
        messages: [{ role: 'developer', content: 'Be brief.' }, ...HELLO],
        user: directives({ tokens: 5, prompt_tokens: 11 }),
      });
      assert.equal(completion.choices[0].message.content, TOKEN.repeat(5));
      assert.equal(completion.choices[0].finish_reason, 'stop');
      assert.equal(completion.usage.total_tokens, 16);
      assert.ok(completion._request_id);
    });

    test('a stream of chat', async () => {
      const stream = await openai.chat.completions.create({
        model,
        messages: HELLO,
        stream: true,
        stream_options: { include_usage: true },
        user: directives({ tokens: 5, unicode: true, chunking: 3 }),
      });
      const chunks = await all(stream);
      const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('');
      assert.equal(text, 'é"日'.repeat(5));
      assert.equal(chunks.at(-1).usage.completion_tokens, 5);
    });

    test('the stream helper', async () => {
      const stream = openai.chat.completions.stream({
        model,
        messages: HELLO,
        user: directives({ tokens: 5 }),
      });
      const deltas = [];
      stream.on('content', (delta) => deltas.push(delta));
      const completion = await stream.finalChatCompletion();
      assert.equal(deltas.join(''), TOKEN.repeat(5));
      assert.equal(completion.choices[0].message.content, TOKEN.repeat(5));
    });

    test('tools over two turns', async () => {
      const options = { model, tools: TOOLS, user: directives({ tool_calls: 2, tokens: 3 }) };
      const first = await openai.chat.completions.create({ ...options, messages: HELLO });
      const { message, finish_reason } = first.choices[0];
      assert.equal(finish_reason, 'tool_calls');
      assert.deepEqual(
        message.tool_calls.map((call) => JSON.parse(call.function.arguments)),
        [ARGUMENTS, ARGUMENTS],
      );
      const results = message.tool_calls.map((call) => ({
        role: 'tool',
        tool_call_id: call.id,
        content: 'Rain',
      }));
      const messages = [...HELLO, message, ...results];
      const second = await openai.chat.completions.create({ ...options, messages });
      assert.equal(second.choices[0].message.content, TOKEN.repeat(3));
    });

    test('the runner of tools', async () => {
      const asked = [];
      const weather = (args) => {
        asked.push(args);
        return 'Rain';
      };
      const runner = openai.chat.completions.runTools({
        model,
        messages: HELLO,
        stream: true,
        tools: [
          { type: 'function', function: { ...FUNCTION, function: weather, parse: JSON.parse } },
        ],
        user: directives({ tool_calls: 2, tokens: 3 }),
      });
      assert.equal(await runner.finalContent(), TOKEN.repeat(3));
      assert.deepEqual(asked, [ARGUMENTS, ARGUMENTS]);
    });

    test('structured output', async () => {
      const completion = await openai.chat.completions.parse({
        model,
        messages: HELLO,
        response_format: zodResponseFormat(Place, 'place'),
        user: directives(),
      });
      assert.deepEqual(completion.choices[0].message.parsed, PLACE);
      const response = await openai.responses.parse({
        model,
        input: 'Hello',
        text: { format: zodTextFormat(Place, 'place') },
        user: directives(),
      });
      assert.deepEqual(response.output_parsed, PLACE);
    });

    test('a picture', async () => {
      const url = `data:image/png;base64,${PICTURE}`;
      const completion = await openai.chat.completions.create({
        model,
        messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url } }] }],
        user: directives(),
      });
      assert.equal(completion.choices[0].message.content, SEEN);
    });

    test('responses with reasoning and tools over two turns', async () => {
      const options = {
        model,
        tools: [{ type: 'function', strict: true, ...FUNCTION }],
        reasoning: { effort: 'medium', summary: 'auto' },
        include: ['reasoning.encrypted_content'],
        store: false,
        user: directives({ tool_calls: 1, tokens: 3 }),
      };
      const first = await openai.responses.create({ ...options, input: HELLO });
      assert.deepEqual(
        first.output.map((item) => item.type),
        ['reasoning', 'function_call'],
      );
      assert.equal(first.output[0].summary[0].text, THOUGHT);
      assert.deepEqual(JSON.parse(first.output[1].arguments), ARGUMENTS);
      const result = {
        type: 'function_call_output',
        call_id: first.output[1].call_id,
        output: 'Rain',
      };
      const input = [...HELLO, ...first.output, result];
      const second = await openai.responses.create({ ...options, input });
      assert.equal(second.output_text, TOKEN.repeat(3));
    });

    test('a stream of responses', async () => {
      const stream = openai.responses.stream({
        model,
        input: 'Hello',
        user: directives({ tokens: 5 }),
      });
      const events = await all(stream);
      const response = await stream.finalResponse();
      assert.equal(response.output_text, TOKEN.repeat(5));
      assert.deepEqual(
        events.map((event) => event.sequence_number),
        events.map((_, index) => index),
      );
    });

    test('a stream that is aborted', async () => {
      const controller = new AbortController();
      const stream = await openai.chat.completions.create(
        { model, messages: HELLO, stream: true, user: directives({ fault: 'stall', after: 5 }) },
        { signal: controller.signal },
      );
      let seen = 0;
      // The provider says nothing more: only the abort ends this.
      for await (const chunk of stream) {
        if (chunk.choices[0]?.delta.content) seen += 1;
        if (seen >= 2) controller.abort();
      }
      assert.ok(seen >= 2);
      const completion = await openai.chat.completions.create({
        model,
        messages: HELLO,
        user: directives({ tokens: 1 }),
      });
      assert.equal(completion.choices[0].message.content, TOKEN);
    });

    test('a stream that breaks off', async () => {
      const user = directives({ fault: 'truncate', after: 5 });
      await assert.rejects(async () => {
        await all(await openai.chat.completions.create({ model, messages: HELLO, stream: true, user }));
      }, OpenAI.APIError);
    });

    test('a refusal of the provider', async () => {
      const user = directives({ fault: 'retry-after', seconds: 7 });
      await assert.rejects(
        openai.chat.completions.create({ model, messages: HELLO, user }),
        (error) => error instanceof OpenAI.RateLimitError && error.headers.get('retry-after') === '7',
      );
    });
  });
}

test('thinking is seen in chat, and goes back with its signature', async () => {
  const options = {
    model: ANTHROPICS,
    reasoning_effort: 'high',
    user: directives({ tokens: 3 }),
  };
  const first = await openai.chat.completions.create({ ...options, messages: HELLO });
  const { message } = first.choices[0];
  assert.equal(message.reasoning_content, THOUGHT);
  const again = [...HELLO, message, { role: 'user', content: 'And why?' }];
  const second = await openai.chat.completions.create({ ...options, messages: again });
  assert.equal(second.choices[0].message.content, TOKEN.repeat(3));

  message.thinking_blocks[0].thinking = 'something else';
  await assert.rejects(
    openai.chat.completions.create({ ...options, messages: again }),
    OpenAI.BadRequestError,
  );
});
