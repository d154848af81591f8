// @langchain/langgraph-sdk under Node, in the version that useStream comes with and in the newest.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";

import * as current from "@langchain/langgraph-sdk";
import * as newest from "langgraph-sdk-2";

const apiUrl = process.env.BASE_URL;
const input = { messages: [{ type: "human", content: "hello" }] };

async function all(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

for (const [version, { Client }] of Object.entries({ current, newest })) {
  const client = new Client({ apiUrl, callerOptions: { maxRetries: 0 } });

  test(`${version}: a thread is made and found`, async () => {
    const thread = await client.threads.create({ metadata: { of: version } });
    assert.deepEqual((await client.threads.get(thread.thread_id)).metadata, { of: version });
    const found = await client.threads.search({ ids: [thread.thread_id] });
    assert.deepEqual(
      found.map(({ thread_id }) => thread_id),
      [thread.thread_id],
    );
  });

  test(`${version}: a run is streamed`, async () => {
    const thread = await client.threads.create();
    const created = [];
    const events = await all(
      client.runs.stream(thread.thread_id, "chat", {
        input,
        streamMode: ["values", "updates", "messages-tuple", "custom"],
        onRunCreated: (run) => created.push(run),
      }),
    );
    const names = new Set(events.map(({ event }) => event));
    for (const name of ["metadata", "values", "updates", "messages", "custom"]) {
      assert.ok(names.has(name), `${name} in ${[...names]}`);
    }
    const last = events.filter(({ event }) => event === "values").at(-1);
    assert.equal(last.data.messages.at(-1).content, "you said hello");
    assert.equal(created[0].thread_id, thread.thread_id);
    assert.equal((await client.runs.get(thread.thread_id, created[0].run_id)).status, "success");
  });

  test(`${version}: a run without a thread is streamed and waited for`, async () => {
    const events = await all(client.runs.stream(null, "chat", { input }));
    const last = events.filter(({ event }) => event === "values").at(-1);
    assert.equal(last.data.messages.at(-1).content, "you said hello");
    const values = await client.runs.wait(null, "chat", { input });
    assert.equal(values.messages.at(-1).content, "you said hello");
  });

  test(`${version}: a run is waited for`, async () => {
    const thread = await client.threads.create();
    const values = await client.runs.wait(thread.thread_id, "chat", { input });
    assert.equal(values.messages.at(-1).content, "you said hello");
    const state = await client.threads.getState(thread.thread_id);
    assert.equal(state.values.messages.length, 2);
    assert.ok((await client.threads.getHistory(thread.thread_id)).length >= 2);
  });

  test(`${version}: the error of a run that is waited for is thrown`, async () => {
    const thread = await client.threads.create();
    await assert.rejects(client.runs.wait(thread.thread_id, "failing", { input }), /no such luck/);
  });

  test(`${version}: a run is joined from its first event`, async () => {
    const gate = randomUUID();
    const thread = await client.threads.create();
    const given = { messages: [{ type: "human", content: gate }] };
    const run = await client.runs.create(thread.thread_id, "holding", {
      input: given,
      streamMode: ["values", "updates"],
      streamResumable: true,
    });
    const joined = all(
      client.runs.joinStream(thread.thread_id, run.run_id, { lastEventId: "-1" }),
    );
    await client.runs.wait(null, "opening", { input: given });
    const events = await joined;
    const updates = events.filter(({ event }) => event === "updates");
    assert.deepEqual(
      updates.flatMap(({ data }) => Object.keys(data)),
      ["begin", "hold"],
    );
    const after = await all(
      client.runs.joinStream(thread.thread_id, run.run_id, { lastEventId: updates[0].id }),
    );
    assert.deepEqual(
      after.filter(({ event }) => event === "updates").flatMap(({ data }) => Object.keys(data)),
      ["hold"],
    );
    await client.runs.join(thread.thread_id, run.run_id);
  });

  test(`${version}: a run is cancelled`, async () => {
    const thread = await client.threads.create();
    const run = await client.runs.create(thread.thread_id, "waiting", { input });
    await client.runs.cancel(thread.thread_id, run.run_id, true);
    const { status } = await client.runs.get(thread.thread_id, run.run_id);
    assert.equal(status, "interrupted");
  });

  test(`${version}: a question is answered`, async () => {
    const thread = await client.threads.create();
    const asked = await client.runs.wait(thread.thread_id, "asking", { input });
    assert.deepEqual(asked.__interrupt__[0].value, { question: "really hello?" });
    const values = await client.runs.wait(thread.thread_id, "asking", {
      command: { resume: "yes" },
    });
    assert.equal(values.messages.at(-1).content, "answered yes");
  });

  test(`${version}: a thread that is not there is an error with its status`, async () => {
    await assert.rejects(client.threads.get(randomUUID()), (error) => error.status === 404);
  });

  test(`${version}: every method is answered, with every option`, async () => {
    const { assistants, crons, runs, store, threads } = client;
    const metadata = { of: version };
    const page = { metadata, limit: 5, offset: 0 };

    const made = await assistants.create({ graphId: "chat", name: "mine", metadata, config: {} });
    const id = made.assistant_id;
    await assistants.get(id);
    await assistants.update(id, { graphId: "chat", name: "yours", metadata });
    await assistants.getVersions(id, page);
    await assistants.setLatest(id, 1);
    await assistants.getGraph(id, { xray: 1 });
    await assistants.getSchemas(id);
    await assistants.getSubgraphs(id, { recurse: true });
    await assistants.search({ ...page, graphId: "chat", sortBy: "name", sortOrder: "asc" });
    await assistants.search({ ...page, select: ["name"] });
    await assistants.count?.({ metadata, graphId: "chat" });

    const thread = await threads.create({ metadata, ifExists: "do_nothing", graphId: "chat" });
    const on = thread.thread_id;
    await threads.get(on, { include: ["ttl"] });
    await threads.update(on, { metadata });
    await runs.wait(on, id, {
      input,
      config: { tags: ["one"], recursion_limit: 20, configurable: { tone: "dry" } },
      metadata,
      multitaskStrategy: "enqueue",
      onCompletion: "keep",
      ifNotExists: "create",
      durability: "sync",
      onDisconnect: "continue",
      feedbackKeys: ["liked"],
      raiseError: true,
    });
    const [run] = await runs.list(on, { limit: 1, offset: 0, status: "success" });
    await runs.list(on, { select: ["run_id"] });
    await runs.join(on, run.run_id, { cancelOnDisconnect: true });
    await all(runs.joinStream(on, run.run_id, { streamMode: "values", cancelOnDisconnect: true }));
    await runs.createBatch([{ assistantId: id, input }]);
    const state = await threads.getState(on, undefined, { subgraphs: true });
    await threads.getState(on, state.checkpoint, { subgraphs: true });
    await threads.getHistory(on, { limit: 2, before: { configurable: state.checkpoint } });
    const { configurable } = await threads.updateState(on, { values: { log: ["more"] }, asNode: "answer" });
    assert.equal((await threads.getState(on)).checkpoint.checkpoint_id, configurable.checkpoint_id);
    await threads.search({ ...page, status: "idle", sortBy: "created_at", sortOrder: "desc" });
    await threads.search({ ...page, select: ["thread_id"] });
    await threads.count?.({ metadata, status: "idle" });
    await threads.copy(on);
    const ahead = new Date(Date.now() + 3_600_000).toISOString();
    const cron = await crons.create(id, { schedule: "0 0 1 1 *", input, metadata });
    await crons.createForThread(on, id, { schedule: "0 0 1 1 *", endTime: ahead });
    await crons.search({ assistantId: id, limit: 5, offset: 0 });
    await crons.count?.({ assistantId: id });
    await crons.delete(cron.cron_id);
    await runs.delete(on, run.run_id);
    await threads.delete(on);

    const namespace = ["js", version];
    await store.putItem(namespace, "key", { text: "kept" }, { index: false, ttl: 10 });
    await store.getItem(namespace, "key", { refreshTtl: true });
    await store.searchItems(namespace, { filter: { text: "kept" }, limit: 5, refreshTtl: false });
    await store.listNamespaces({ prefix: ["js"], maxDepth: 2, limit: 5 });
    await store.deleteItem(namespace, "key");
    await assistants.delete(id, { deleteThreads: true });
  });

  test(`${version}: a thread is followed from run to run`, async () => {
    const { thread_id } = await client.threads.create();
    const stop = new AbortController();
    const follow = client.threads.joinStream(thread_id, {
      streamMode: ["run_modes"],
      lastEventId: "-1",
      signal: stop.signal,
    });
    const first = follow.next();
    await client.runs.wait(thread_id, "chat", { input });
    assert.ok((await first).value.event);
    stop.abort();
  });
}
