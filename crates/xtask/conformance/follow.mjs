// Follows an action's events with the package `eventsource`, a client written to the standard of browsers, until the
// server says that there is nothing more (204). Every event has to come exactly once, in order, whatever the connection
// does meanwhile.
//
// Usage: DEED_KEY=… node follow.mjs URL

import { EventSource } from "eventsource";

const names = ["created", "started", "message", "progress", "retry", "done"];
const seen = [];
let isDone = false;
let opened = 0;

function fail(message) {
  console.log(`FAILED: ${message}`);
  process.exit(1);
}

const source = new EventSource(process.argv[2], {
  // Browsers send no headers of the page's; elsewhere the key goes where it belongs.
  fetch: (url, init) =>
    fetch(url, { ...init, headers: { ...init.headers, "X-API-Key": process.env.DEED_KEY } }),
});

for (const name of names) {
  source.addEventListener(name, (event) => {
    if (isDone) fail(`${name} after done`);
    const expected = seen.length + 1;
    if (event.lastEventId !== String(expected)) fail(`id ${event.lastEventId}, not ${expected}`);
    JSON.parse(event.data);
    seen.push(name);
    isDone = name === "done";
    console.log(`seen ${event.lastEventId} ${name}`);
  });
}

source.addEventListener("open", () => {
  opened += 1;
  console.log(`connection ${opened}`);
});

source.addEventListener("error", (event) => {
  if (source.readyState !== EventSource.CLOSED) {
    console.log(`reconnects: ${event.message ?? "the stream ended"}`);
    return;
  }
  // It has given up: right after the end, wrong before.
  if (!isDone) fail(`it gave up at ${seen.length}: ${event.code} ${event.message}`);
  if (event.code !== 204) fail(`stopped by ${event.code}, not by 204`);
  if (opened < 2) fail("the connection was never cut");
  console.log(`stopped by 204 after ${seen.length} events`);
  process.exit(0);
});
