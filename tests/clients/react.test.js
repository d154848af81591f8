// useStream of @langchain/react, which speaks the thread protocol, in a page.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { afterEach, test } from "node:test";
import { isDeepStrictEqual } from "node:util";

import { apiUrl, mount, say, texts } from "./harness.js";

const { Client } = await import("@langchain/langgraph-sdk");
const { useMessageMetadata, useStream } = await import("@langchain/react");

const client = new Client({ apiUrl });
const mounted = [];

function page(assistantId, options = {}, hook = useStream) {
  const probe = mount(hook, { apiUrl, assistantId, ...options });
  mounted.push(probe);
  return probe.until((stream) => stream !== undefined).then(() => probe);
}

/** The run is over and the page says this: the two may come over different connections. */
const saying =
  (...said) =>
  ({ isLoading, messages }) =>
    !isLoading && isDeepStrictEqual(texts(messages), said);

afterEach(() => mounted.splice(0).forEach((probe) => probe.unmount()));

test("messages come word by word, and stay", async () => {
  const probe = await page("chat");
  void probe.current.submit(say("hello"));
  await probe.until(({ messages }) => texts(messages)[1]?.startsWith("you"));
  const { values, threadId } = await probe.until(saying("hello", "you said hello"));
  assert.equal(values.messages.length, 2);
  assert.equal((await client.threads.get(threadId)).status, "idle");
});

test("a conversation goes on", async () => {
  const probe = await page("chat");
  await probe.current.submit(say("one"));
  await probe.until(saying("one", "you said one"));
  await probe.current.submit(say("two"));
  await probe.until(saying("one", "you said one", "two", "you said two"));
});

test("a question is shown and answered", async () => {
  const probe = await page("asking");
  void probe.current.submit(say("hello"));
  const { interrupt } = await probe.until((stream) => !stream.isLoading && stream.interrupt);
  assert.deepEqual(interrupt.value, { question: "really hello?" });
  await probe.current.respond("yes");
  const { interrupts } = await probe.until(saying("hello", "answered yes"));
  assert.deepEqual(interrupts, []);
});

test("a question of a subgraph is shown and answered", async () => {
  const probe = await page("asking_within");
  void probe.current.submit(say("hello"));
  const { interrupt } = await probe.until((stream) => !stream.isLoading && stream.interrupt);
  await probe.current.respond("yes", { interruptId: interrupt.id });
  await probe.until(saying("hello", "answered yes", "you said answered yes"));
});

test("several questions are answered at once", async () => {
  const probe = await page("asking_twice");
  void probe.current.submit(say("hello"));
  const { interrupts } = await probe.until(
    (stream) => !stream.isLoading && stream.interrupts.length === 2,
  );
  const answers = interrupts.map(({ id, value }) => [id, `to ${value}`]);
  await probe.current.respondAll(Object.fromEntries(answers));
  const { values } = await probe.until(
    (stream) => !stream.isLoading && stream.values.log?.length === 2,
  );
  assert.deepEqual([...values.log].sort(), ["first to first?", "second to second?"]);
});

test("a run is stopped", async () => {
  const probe = await page("waiting");
  void probe.current.submit(say("hello"));
  const { threadId } = await probe.until(({ isLoading, values }) => isLoading && values.log?.length);
  await probe.current.stop();
  await probe.until(({ isLoading }) => !isLoading);
  const [run] = await client.runs.list(threadId);
  await client.runs.join(threadId, run.run_id);
  assert.equal((await client.runs.get(threadId, run.run_id)).status, "interrupted");
});

test("a run is followed again after a reload", async () => {
  const gate = randomUUID();
  const before = await page("holding");
  void before.current.submit(say(gate));
  const { threadId } = await before.until(({ values }) => values.log?.length);
  before.unmount();

  const after = await page("holding", { threadId });
  await after.until(({ isLoading }) => isLoading);
  await client.runs.wait(null, "opening", { input: say(gate) });
  await after.until(saying(gate, "held no longer"));
});

test("a conversation is there again after a reload, and goes on", async () => {
  const before = await page("chat");
  await before.current.submit(say("one"));
  const { threadId } = await before.until(saying("one", "you said one"));
  before.unmount();

  const after = await page("chat", { threadId });
  await after.until(saying("one", "you said one"));
  await after.current.submit(say("two"));
  await after.until(saying("one", "you said one", "two", "you said two"));
});

test("a question is there again after a reload, and answered", async () => {
  const before = await page("asking");
  void before.current.submit(say("hello"));
  const { threadId } = await before.until((stream) => !stream.isLoading && stream.interrupt);
  before.unmount();

  const after = await page("asking", { threadId });
  const { interrupt } = await after.until((stream) => stream.interrupt);
  await after.current.respond("yes", { interruptId: interrupt.id });
  await after.until(saying("hello", "answered yes"));
});

test("a reply is asked for anew from where it was made", async () => {
  const withMetadata = (options) => {
    const stream = useStream(options);
    const metadata = useMessageMetadata(stream, stream.messages[0]?.id);
    return { ...stream, metadata };
  };
  const probe = await page("chat", {}, withMetadata);
  await probe.current.submit(say("first"));
  const { metadata } = await probe.until(
    (stream) =>
      saying("first", "you said first")(stream) && stream.metadata?.parentCheckpointId,
  );
  await probe.current.submit(say("second"), { forkFrom: metadata.parentCheckpointId });
  await probe.until(saying("first", "second", "you said second"));
});

test("a tool's call and its result are shown", async () => {
  const probe = await page("adding");
  void probe.current.submit(say("hello"));
  const { toolCalls } = await probe.until(
    (stream) => !stream.isLoading && stream.toolCalls[0]?.output !== undefined,
  );
  assert.equal(toolCalls[0].name, "add");
  assert.deepEqual(toolCalls[0].input ?? toolCalls[0].args, { one: 1, other: 2 });
});

test("a subgraph is found", async () => {
  const probe = await page("asking_within");
  void probe.current.submit(say("hello"));
  const { subgraphs } = await probe.until((stream) => stream.subgraphs.size > 0);
  assert.equal([...subgraphs.values()][0].nodeName, "team");
});

test("an error is shown", async () => {
  const probe = await page("failing");
  void probe.current.submit(say("hello"));
  const { error } = await probe.until((stream) => stream.error);
  assert.match(String(error.message), /no such luck/);
});
