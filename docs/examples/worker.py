#!/usr/bin/env python3
"""A worker in Python 3.9+ with nothing but its standard library. It says the words of input.text, one by one:
DEED_URL=http://127.0.0.1:8080 DEED_API_KEY=deedk_... python3 worker.py demo.words"""
import functools, http.client, json, os, random, signal, socket, sys, threading, time, urllib.request, uuid

URL, KEY = os.environ.get("DEED_URL", "http://127.0.0.1:8080"), os.environ.get("DEED_API_KEY", "")
LEASE = int(os.environ.get("LEASE_SECONDS", "30"))  # how long it may be silent before another worker takes over
NAME = f"{socket.gethostname()}-{os.getpid()}"
log = functools.partial(print, f"{NAME}:", file=sys.stderr, flush=True)
over, stopping = None, False  # over: tells of the action under way that it is done, lost, cancelled or to be released

class Lost(BaseException): """The action is another worker's now. No Exception, for work must not go on after it."""
class Stopped(Exception): """The action is not to be performed to its end."""

def call(path, **body):
    """Posts until there is an answer. What a worker says may be repeated: the server acts on it once."""
    headers, pause = {"X-API-Key": KEY, "Content-Type": "application/json"}, 0.1
    while True:
        try:
            request = urllib.request.Request(URL + path, json.dumps(body).encode(), headers)
            try:
                return json.load(urllib.request.urlopen(request, timeout=60))
            except urllib.error.HTTPError as error:
                status, what, asked = error.code, str(error.read()), error.headers.get("Retry-After", "")
        except (OSError, http.client.HTTPException) as error:
            status, what, asked = 503, error, ""  # nobody is there, or the connection broke
        if status in (401, 403):
            log("this key can't do that:", what)
            os._exit(1)  # whichever thread this is
        if status == 409 and '"lease_lost"' in what: raise Lost
        if status < 500 and status != 429: raise ValueError(what)
        log(f"{path} is tried again: {what}")
        time.sleep((int(asked) if asked.isdigit() else 0) + random.uniform(0, pause))
        pause = min(2 * pause, 10)

def renew(lease, over):
    while not over.wait(LEASE / 3):
        told = call("/leases/heartbeat", lease_ids=[lease["lease_id"]])["leases"][0]
        if not told["ok"] or told["cancel_requested"]: over.set()

def perform(lease, over):
    """What this worker is for: put your own work here."""
    given, said = lease["action"]["input"], (lease.get("checkpoint") or {"said": 0})["said"]
    for word in [word for word in given["text"].split(" ") if word][said:]:  # after what earlier attempts have said
        if over.wait(given.get("delay_ms", 0) / 1000):
            raise Stopped
        said, event = said + 1, {"event": "message", "data": {"text": word}}
        report = {"from_seq": lease["next_seq"], "events": [event], "checkpoint": {"said": said}}
        told = call(f"/leases/{lease['lease_id']}/events", **report)
        lease["next_seq"] = told["next_seq"]
        if told["cancel_requested"]: over.set()
    return {"words": said}

def stop(*_):
    global stopping
    stopping, again = True, stopping
    over.set() if over and not again else sys.exit()  # which ends a waiting poll: the server grants it nothing

for number in (signal.SIGTERM, signal.SIGINT): signal.signal(number, stop)
poll = {"types": sys.argv[1:], "worker": NAME, "wait_seconds": 25, "lease_seconds": LEASE}
while not stopping:
    answer = call("/leases", **poll, request_id=str(uuid.uuid4()))
    for lease in answer["leases"]:
        over = threading.Event()
        threading.Thread(target=renew, args=(lease, over), daemon=True).start()
        try:
            try:
                call(f"/leases/{lease['lease_id']}/complete", output=perform(lease, over))
                end = "complete"
            except Exception as error:  # what is cancelled ends as such: by a failure that may be retried
                failure = {"code": "failed", "message": str(error)[:500] or "stopped"}
                end, body = ("release", {}) if stopping else ("fail", {"error": failure, "retryable": True})
                call(f"/leases/{lease['lease_id']}/{end}", **body)
        except Lost:
            end = "lost"
        over.set()
        log(lease["action"]["id"], end)
    over = None
    time.sleep(random.random() if answer.get("draining") else 0)
