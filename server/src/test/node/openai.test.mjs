// OpenAI's client for Node, unchanged, against a server that OpenAiNodeIT has started.
// BASALT_URL, BASALT_KEY and BASALT_MODEL say where; BASALT_CONTROL is asked to occupy and to free the slots.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";

const model = process.env.BASALT_MODEL;
const client = connect(process.env.BASALT_KEY);
const messages = [
  { role: "system", content: "A talk about the sea." },
  { role: "user", content: [{ type: "text", text: "Tell me of the ship." }] },
];
const chat = { model, messages, max_completion_tokens: 24, seed: 7, ignore_eos: true };
const completion = { model, prompt: "Once upon a time", max_tokens: 24, seed: 7, ignore_eos: true };

function connect(apiKey) {
  return new OpenAI({ baseURL: process.env.BASALT_URL, apiKey, maxRetries: 0, timeout: 60_000 });
}

async function content(fields) {
  const answer = await client.chat.completions.create({ ...chat, ...fields });
  return answer.choices[0].message.content;
}

/** Asks the test for something; it answers when that has come to pass. */
async function control(what) {
  const response = await fetch(`${process.env.BASALT_CONTROL}/${what}`);
  assert.equal(response.status, 200, await response.text());
}

test("lists the model", async () => {
  const ids = [];
  for await (const entry of client.models.list()) {
    ids.push(entry.id);
  }
  assert.deepEqual(ids, [model]);
  assert.equal((await client.models.retrieve(model)).id, model);
});

test("completes, whole and streamed", async () => {
  const whole = await client.completions.create(completion);
  assert.equal(whole.choices[0].finish_reason, "length");
  assert.equal(whole.usage.completion_tokens, 24);
  let text = "";
  for await (const chunk of await client.completions.create({ ...completion, stream: true })) {
    text += chunk.choices[0].text;
  }
  assert.equal(text, whole.choices[0].text);
});

test("chats, whole and streamed", async () => {
  const whole = await client.chat.completions.create(chat);
  assert.equal(whole.object, "chat.completion");
  assert.equal(whole.choices[0].message.role, "assistant");
  assert.equal(whole.choices[0].finish_reason, "length");
  const chunks = [];
  const stream = await client.chat.completions.create({
    ...chat,
    stream: true,
    stream_options: { include_usage: true },
  });
  for await (const chunk of stream) {
    chunks.push(chunk);
  }
  assert.equal(chunks[0].choices[0].delta.role, "assistant");
  assert.equal(chunks.at(-2).choices[0].finish_reason, "length");
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.equal(chunks.at(-1).usage.completion_tokens, 24);
  const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
  assert.equal(text, whole.choices[0].message.content);
});

test("puts a stream together by its helper", async () => {
  const final = await client.chat.completions.stream(chat).finalChatCompletion();
  assert.equal(final.choices[0].message.content, await content({}));
});

test("tells logprobs", async () => {
  const answer = await client.chat.completions.create({ ...chat, logprobs: true, top_logprobs: 3 });
  const entries = answer.choices[0].logprobs.content;
  assert.equal(entries.length, 24);
  for (const entry of entries) {
    assert.equal(entry.top_logprobs.length, 3);
    assert.ok(entry.logprob <= 0);
  }
  const columns = (await client.completions.create({ ...completion, logprobs: 2 })).choices[0].logprobs;
  assert.equal(columns.token_logprobs.length, 24);
});

test("chooses several", async () => {
  const answer = await client.chat.completions.create({ ...chat, n: 3 });
  assert.equal(new Set(answer.choices.map((choice) => choice.message.content)).size, 3);
  const best = await client.completions.create({ ...completion, best_of: 3 });
  assert.equal(best.choices.length, 1);
});

test("stops at a text", async () => {
  const whole = await content({});
  const stop = whole.trim().split(" ")[2];
  const answer = await client.chat.completions.create({ ...chat, stop: [stop] });
  assert.equal(answer.choices[0].message.content, whole.slice(0, whole.indexOf(stop)));
  assert.equal(answer.choices[0].finish_reason, "stop");
});

test("repeats by its seed", async () => {
  assert.equal(await content({}), await content({}));
  assert.notEqual(await content({}), await content({ seed: 8 }));
});

test("maps errors to its own classes", async () => {
  await assert.rejects(content({ tools: [] }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.equal(error.param, "tools");
    assert.equal(error.code, "unsupported_parameter");
    assert.equal(error.type, "invalid_request_error");
    return true;
  });
  await assert.rejects(content({ model: "gpt-4" }), OpenAI.NotFoundError);
  await assert.rejects(connect("wrong").chat.completions.create(chat), OpenAI.AuthenticationError);
  await control("occupy");
  await assert.rejects(content({}), (error) => {
    assert.ok(error instanceof OpenAI.RateLimitError);
    assert.ok(Number(error.headers.get("retry-after")) >= 1);
    return true;
  });
  await control("free");
});

test("frees the slot when a stream is left", async () => {
  let count = 0;
  for await (const _ of await client.chat.completions.create({
    ...chat,
    max_completion_tokens: 1_000_000,
    stream: true,
  })) {
    if (++count === 3) {
      break;
    }
  }
  await control("await-free");
});

test("frees the slot when a request is aborted", async () => {
  const abort = new AbortController();
  const answer = client.chat.completions.create(
    { ...chat, max_completion_tokens: 1_000_000 },
    { signal: abort.signal },
  );
  await Promise.all([
    assert.rejects(answer, OpenAI.APIUserAbortError),
    control("await-busy").then(() => abort.abort()),
  ]);
  await control("await-free");
});
