// What a TypeScript client that was generated from the OpenAPI document does with a running server. Its types are the
// document's: what does not compile here would not compile for anybody.
import assert from "node:assert/strict";
import process from "node:process";

import createClient from "openapi-fetch";

import type { components, paths } from "./schema.js";

type Schemas = components["schemas"];

const base = process.env["DEED_BASE"]!;
const rootKey = process.env["DEED_ROOT_KEY"]!;

/** Nothing here takes longer, unless it hangs. */
const patience = () => AbortSignal.timeout(20_000);

function client(secret: string) {
  return createClient<paths>({ baseUrl: base, headers: { "X-API-Key": secret } });
}

/** What came, or the problem as an error. */
function taken<Data>(answer: {
  data?: Data;
  error?: Schemas["Problem"];
  response: Response;
}): NonNullable<Data> {
  if (answer.data === undefined || answer.data === null) {
    throw new Error(`${answer.response.url}: ${answer.response.status} ${JSON.stringify(answer.error)}`);
  }
  return answer.data;
}

/** The fields of each event of a stream, as the document has them. */
function events(text: string): Schemas["StreamEvent"][] {
  return text
    .split("\n\n")
    .filter((block) => block.startsWith("id:"))
    .map((block) => Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/, 2))) as Schemas["StreamEvent"]);
}

const operator = client(rootKey);
const account: Schemas["CreateUser"] = {
  email: "typescript@example.com",
  name: "Grace Hopper",
  password: "correct horse battery",
};
const user = taken(await operator.POST("/users", { body: account, signal: patience() }));
assert.equal(user.status, "active");

// An error has its type.
const again = await operator.POST("/users", { body: account, signal: patience() });
assert.equal(again.response.status, 409);
const refusal: Schemas["Problem"] | undefined = again.error;
assert.equal(refusal?.error, "user_already_exists");
const wrong = await operator.POST("/users", { body: { ...account, email: "nobody" }, signal: patience() });
assert.equal(wrong.error?.error, "validation_failed");
assert.equal(wrong.error?.errors?.[0]?.pointer, "#/email");

const key = taken(
  await operator.POST("/api-keys", {
    params: { header: { "X-User-ID": user.id } },
    body: { name: "smoke", scopes: ["actions:read", "actions:write"] },
    signal: patience(),
  }),
);
const mine = client(key.secret);

const performed = await mine.POST("/actions", {
  params: { header: { "Idempotency-Key": "smoke-1" } },
  body: { type: "echo", input: { text: "hello world" } },
  signal: patience(),
});
const action: Schemas["ActionBody"] = taken(performed);
assert.equal(performed.response.status, 201);
assert.equal(performed.response.headers.get("Location"), `/actions/${action.id}`);
assert.equal(action.status, "succeeded");
assert.deepEqual(action.output, { text: "hello world" });

const path = { id: action.id };
const read = taken(await mine.GET("/actions/{id}", { params: { path }, signal: patience() }));
assert.deepEqual(read, action);

const list = taken(
  await mine.GET("/actions", { params: { query: { status: "succeeded", limit: 1 } }, signal: patience() }),
);
assert.deepEqual(
  list.items.map((item) => item.id),
  [action.id],
);
assert.equal(list.next_cursor, null);

const page = taken(
  await mine.GET("/actions/{id}/events", {
    params: { path },
    headers: { Accept: "application/json" },
    signal: patience(),
  }),
);
assert(typeof page !== "string");
assert.equal(page.items.at(-1)?.event, "done");

const stream = taken(
  await mine.GET("/actions/{id}/events", {
    params: { path },
    headers: { Accept: "text/event-stream" },
    parseAs: "text",
    signal: patience(),
  }),
);
const log = events(stream);
assert.deepEqual(
  log.map((event) => event.event),
  ["created", "started", "message", "message", "done"],
);
const last = log.at(-1);
assert(last?.event === "done");
const done = JSON.parse(last.data) as Schemas["DoneData"];
assert(done.status === "succeeded");
assert.deepEqual(done.output, { text: "hello world" });

const over = await mine.GET("/actions/{id}/events", {
  params: { path, header: { "Last-Event-ID": last.id } },
  parseAs: "text",
  signal: patience(),
});
assert.equal(over.response.status, 204);

// A worker.
const defined = await operator.PUT("/action-types/{name}", {
  params: { path: { name: "smoke.typescript" } },
  body: { max_attempts: 1 },
  signal: patience(),
});
assert.equal(taken(defined).performed_by, "workers");
const waiting = taken(
  await mine.POST("/actions", {
    params: { header: { Prefer: "respond-async" } },
    body: { type: "smoke.typescript", input: 1 },
    signal: patience(),
  }),
);
const granted = taken(
  await operator.POST("/leases", {
    body: { types: ["smoke.typescript"], worker: "smoke", wait_seconds: 5 },
    signal: patience(),
  }),
);
const lease = granted.leases[0];
assert.equal(lease?.action.id, waiting.id);
taken(
  await operator.POST("/leases/{lease_id}/complete", {
    params: { path: { lease_id: lease.lease_id } },
    body: { output: { sum: 2 } },
    signal: patience(),
  }),
);
const ended = taken(await mine.GET("/actions/{id}", { params: { path: { id: waiting.id } }, signal: patience() }));
assert.deepEqual([ended.status, ended.output], ["succeeded", { sum: 2 }]);

console.log("The TypeScript client does what it says.");
