// The older useStream, of @langchain/langgraph-sdk/react, in a page.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { afterEach, test } from "node:test";

import { apiUrl, mount, say, texts } from "./harness.js";

const { Client } = await import("@langchain/langgraph-sdk");
const { useStream } = await import("@langchain/langgraph-sdk/react");

const client = new Client({ apiUrl });
const mounted = [];

function page(assistantId, options = {}) {
  const probe = mount(useStream, { apiUrl, assistantId, messagesKey: "messages", ...options });
  mounted.push(probe);
  return probe;
}

const done = (stream) => !stream.isLoading && stream.messages.length > 1;

afterEach(() => mounted.splice(0).forEach((probe) => probe.unmount()));

test("messages come word by word, and stay", async () => {
  const threads = [];
  const probe = page("chat", { onThreadId: (id) => threads.push(id) });
  await probe.until((stream) => stream !== undefined);
  void probe.current.submit(say("hello"));
  await probe.until(({ isLoading, messages }) => isLoading && texts(messages).at(-1) === "you ");
  const { messages, values } = await probe.until(done);
  assert.deepEqual(texts(messages), ["hello", "you said hello"]);
  assert.equal(values.messages.length, 2);
  assert.equal(threads.length, 1);
});

test("a question is shown and answered", async () => {
  const probe = page("asking");
  await probe.until((stream) => stream !== undefined);
  void probe.current.submit(say("hello"));
  const { interrupt } = await probe.until((stream) => !stream.isLoading && stream.interrupt);
  assert.deepEqual(interrupt.value, { question: "really hello?" });
  void probe.current.submit(undefined, { command: { resume: "yes" } });
  const { messages } = await probe.until(done);
  assert.deepEqual(texts(messages), ["hello", "answered yes"]);
});

test("a run is stopped", async () => {
  const threads = [];
  const probe = page("waiting", { onThreadId: (id) => threads.push(id) });
  await probe.until((stream) => stream !== undefined);
  void probe.current.submit(say("hello"));
  await probe.until(({ isLoading, values }) => isLoading && values.log?.length);
  await probe.current.stop();
  await probe.until(({ isLoading }) => !isLoading);
});

test("a run is joined again after a reload", async () => {
  const gate = randomUUID();
  let threadId;
  const options = { reconnectOnMount: true, onThreadId: (id) => (threadId = id) };
  const before = page("holding", options);
  await before.until((stream) => stream !== undefined);
  void before.current.submit(say(gate), { onDisconnect: "continue", streamResumable: true });
  await before.until(({ values }) => values.log?.length);
  before.unmount();

  const after = page("holding", { ...options, threadId });
  await after.until(({ isLoading }) => isLoading);
  await client.runs.wait(null, "opening", { input: say(gate) });
  const { messages } = await after.until(done);
  assert.deepEqual(texts(messages), [gate, "held no longer"]);
});

test("history branches where a message is said anew", async () => {
  const probe = page("chat", { fetchStateHistory: true });
  await probe.until((stream) => stream !== undefined);
  void probe.current.submit(say("first"));
  const before = await probe.until((stream) => done(stream) && stream.history.length > 0);
  const { firstSeenState } = before.getMessagesMetadata(before.messages[0]);
  void probe.current.submit(say("second"), { checkpoint: firstSeenState.parent_checkpoint });
  await probe.until((stream) => done(stream) && texts(stream.messages)[0] === "second");
  const { branchOptions, branch } = await probe.until(
    (stream) => stream.getMessagesMetadata(stream.messages[0])?.branchOptions?.length === 2,
  ).then((stream) => stream.getMessagesMetadata(stream.messages[0]));
  probe.current.setBranch(branchOptions.find((option) => option !== branch));
  const { messages } = await probe.until(({ messages }) => texts(messages)[0] === "first");
  assert.deepEqual(texts(messages), ["first", "you said first"]);
});

test("an error is shown", async () => {
  const probe = page("failing");
  await probe.until((stream) => stream !== undefined);
  void probe.current.submit(say("hello"));
  const { error } = await probe.until((stream) => stream.error);
  assert.match(String(error.message), /no such luck/);
});
