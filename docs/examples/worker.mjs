#!/usr/bin/env node
// A worker in JavaScript for Node 18 or newer, without packages. It says the words of input.text, one by one:
// DEED_URL=http://127.0.0.1:8080 DEED_API_KEY=deedk_... node worker.mjs demo.words
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

const { DEED_URL: url = 'http://127.0.0.1:8080', DEED_API_KEY: key = '', LEASE_SECONDS = '30' } = process.env;
const name = `${hostname()}-${process.pid}`;
const leaseSeconds = Number(LEASE_SECONDS); // how long it may be silent before another worker takes over
const stopping = new AbortController(); // by SIGTERM or Ctrl-C
const log = (...words) => console.error(`${name}:`, ...words);

class Lost extends Error {} // the action is another worker's now

/** Posts until there is an answer. What a worker says may be repeated: the server acts on it once. */
async function call(path, body, signal) {
  for (let pause = 100; ; pause = Math.min(2 * pause, 10_000)) {
    let status = 503, what, asked = 0;
    try {
      const headers = { 'X-API-Key': key, 'Content-Type': 'application/json' };
      const until = signal ?? AbortSignal.timeout(60_000);
      const answer = await fetch(url + path, { method: 'POST', headers, body: JSON.stringify(body), signal: until });
      what = await answer.text();
      if (answer.ok) return JSON.parse(what);
      status = answer.status;
      asked = Number(answer.headers.get('Retry-After')) || 0;
    } catch (error) { // nobody is there, or the connection broke
      if (signal?.aborted) throw error;
      what = error.cause?.message ?? error.message;
    }
    if (status === 401 || status === 403) {
      log("this key can't do that:", what);
      process.exit(1);
    }
    if (status === 409 && what.includes('"lease_lost"')) throw new Lost();
    if (status < 500 && status !== 429) throw new Error(what);
    log(`${path} is tried again: ${what}`);
    await sleep(asked * 1000 + Math.random() * pause, null, { signal });
  }
}

/** Renews the lease until `over` is aborted; aborts it when the action is lost or to be cancelled. */
async function renew(lease, over) {
  while (await sleep(leaseSeconds * 1000 / 3, true, { signal: over.signal }).catch(() => false)) {
    const told = (await call('/leases/heartbeat', { lease_ids: [lease.lease_id] })).leases[0];
    if (!told.ok || told.cancel_requested) over.abort(new Error('stopped'));
  }
}

/** What this worker is for: put your own work here. */
async function perform(lease, over) {
  const { text, delay_ms = 0 } = lease.action.input;
  let said = lease.checkpoint?.said ?? 0; // by earlier attempts
  for (const word of text.split(' ').filter(Boolean).slice(said)) {
    over.signal.throwIfAborted();
    await sleep(delay_ms, null, { signal: over.signal });
    said += 1;
    const events = [{ event: 'message', data: { text: word } }];
    const report = { from_seq: lease.next_seq, events, checkpoint: { said } };
    const told = await call(`/leases/${lease.lease_id}/events`, report);
    lease.next_seq = told.next_seq;
    if (told.cancel_requested) over.abort(new Error('stopped'));
  }
  return { words: said };
}

async function work(lease) {
  const over = new AbortController();
  const stop = () => over.abort(new Error('stopping'));
  stopping.signal.addEventListener('abort', stop);
  renew(lease, over).catch(log);
  let end = 'complete';
  try {
    try {
      await call(`/leases/${lease.lease_id}/complete`, { output: await perform(lease, over) });
    } catch (error) {
      if (error instanceof Lost) throw error;
      // What is cancelled ends as such: by a failure that may be retried.
      const failure = { error: { code: 'failed', message: error.message.slice(0, 500) || 'stopped' }, retryable: true };
      end = stopping.signal.aborted ? 'release' : 'fail';
      await call(`/leases/${lease.lease_id}/${end}`, end === 'fail' ? failure : {});
    }
  } catch (error) {
    if (!(error instanceof Lost)) throw error;
    end = 'lost';
  }
  over.abort();
  stopping.signal.removeEventListener('abort', stop);
  log(lease.action.id, end);
}

for (const signal of ['SIGTERM', 'SIGINT']) {
  process.on(signal, () => (stopping.signal.aborted ? process.exit(1) : stopping.abort()));
}
const poll = { types: process.argv.slice(2), worker: name, wait_seconds: 25, lease_seconds: leaseSeconds };
while (!stopping.signal.aborted) {
  // The server grants nothing to a poll whose connection is gone.
  const answer = await call('/leases', { ...poll, request_id: randomUUID() }, stopping.signal).catch((error) => {
    if (!stopping.signal.aborted) throw error;
  });
  for (const lease of answer?.leases ?? []) await work(lease);
  if (answer?.draining) await sleep(Math.random() * 1000);
}
