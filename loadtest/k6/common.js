// What the scripts share: where the gateway is, how many users, and one request of each kind.
//
// Environment: BASE_URL (without /v1), MODEL, API_KEY (empty: no credential), VUS, DURATION.

import http from "k6/http";
import { check } from "k6";
import { Rate } from "k6/metrics";

const baseUrl = (__ENV.BASE_URL || "http://127.0.0.1:8080").replace(/\/+$/, "");
const model = __ENV.MODEL || "sim-1";
const apiKey = __ENV.API_KEY || "";

/** Replies that are not what they should be, by status or by body. */
export const wrong = new Rate("wrong_replies");

/** Options of a script whose scenarios come from VUS and DURATION. */
export function options(extraThresholds = {}) {
  return {
    vus: Number(__ENV.VUS || 10),
    duration: __ENV.DURATION || "10s",
    thresholds: {
      http_req_failed: ["rate==0"],
      wrong_replies: ["rate==0"],
      checks: ["rate==1"],
      ...extraThresholds,
    },
  };
}

/** A chat completion without a stream. */
export function chat() {
  const reply = post("/v1/chat/completions", chatBody({}), "chat");
  note(reply, {
    "chat: status 200": (r) => r.status === 200,
    "chat: has content": (r) => {
      const body = json(r);
      const message = body && body.choices && body.choices[0] && body.choices[0].message;
      return Boolean(message && message.content.length > 0);
    },
    "chat: usage adds up": (r) => {
      const usage = (json(r) || {}).usage;
      return Boolean(
        usage &&
          usage.completion_tokens > 0 &&
          usage.prompt_tokens + usage.completion_tokens === usage.total_tokens,
      );
    },
  });
}

/** A streamed chat completion with a usage chunk. k6 reads it whole before it checks it. */
export function stream() {
  const body = chatBody({ stream: true, stream_options: { include_usage: true } });
  const reply = post("/v1/chat/completions", body, "stream");
  const { events, done } = sse(reply.body || "");
  const contents = events.filter((e) => e.choices && e.choices[0] && e.choices[0].delta.content);
  const finishes = events.filter((e) => e.choices && e.choices[0] && e.choices[0].finish_reason);
  const usages = events.filter((e) => e.usage);
  note(reply, {
    "stream: status 200": (r) => r.status === 200,
    "stream: is an event stream": (r) =>
      (r.headers["Content-Type"] || "").startsWith("text/event-stream"),
    "stream: has content": () => contents.length > 0,
    "stream: finishes once": () => finishes.length === 1,
    "stream: reports usage once": () => usages.length === 1 && usages[0].choices.length === 0,
    "stream: ends with [DONE]": () => done,
  });
}

/** The list of models. */
export function models() {
  const reply = http.get(`${baseUrl}/v1/models`, params("models"));
  note(reply, {
    "models: status 200": (r) => r.status === 200,
    "models: lists the model": (r) => {
      const body = json(r);
      return Boolean(body && body.data && body.data.some((entry) => entry.id === model));
    },
  });
}

function chatBody(rest) {
  const messages = [{ role: "user", content: "Say hello." }];
  return JSON.stringify({ model, messages, ...rest });
}

function post(path, body, name) {
  return http.post(`${baseUrl}${path}`, body, params(name));
}

function params(name) {
  const headers = { "Content-Type": "application/json" };
  if (apiKey) {
    headers.Authorization = `Bearer ${apiKey}`;
  }
  // One name a kind: k6 keeps its figures by name.
  return { headers, tags: { name }, timeout: "60s" };
}

function note(reply, checks) {
  wrong.add(!check(reply, checks));
}

function json(reply) {
  try {
    return JSON.parse(reply.body);
  } catch {
    return null;
  }
}

/** The events of a stream, and whether its last one is `[DONE]`. */
function sse(text) {
  const data = text
    .split(/\r?\n/)
    .filter((line) => line.startsWith("data:"))
    .map((line) => line.slice(5).trim());
  const done = data.length > 0 && data[data.length - 1] === "[DONE]";
  const events = [];
  for (const line of done ? data.slice(0, -1) : data) {
    try {
      events.push(JSON.parse(line));
    } catch {
      // Counted by what is then missing.
    }
  }
  return { events, done };
}
