"""Follows an action's events with httpx-sse, resuming after every cut, until the server says that there is nothing more.

Every event has to come exactly once, in order, whatever the connection does meanwhile.

Usage: DEED_KEY=… python follow.py URL
"""

import json
import os
import sys
import time

import httpx
from httpx_sse import connect_sse

DEADLINE = time.monotonic() + 60
"""When it gives up, in the clock's seconds."""


def fail(message):
    print(f"FAILED: {message}", flush=True)
    sys.exit(1)


def main():
    url = sys.argv[1]
    key = os.environ["DEED_KEY"]
    last, is_done, connections, pause = 0, False, 0, 2.0
    # Longer than the pause between two comments of a stream that has nothing to tell.
    timeout = httpx.Timeout(5, read=20)
    with httpx.Client(timeout=timeout, trust_env=False) as client:
        while time.monotonic() < DEADLINE:
            headers = {"X-API-Key": key}
            if last:
                headers["Last-Event-ID"] = str(last)
            try:
                with connect_sse(client, "GET", url, headers=headers) as source:
                    status = source.response.status_code
                    if status == 204:
                        if not is_done:
                            fail(f"204 after {last}, before the end")
                        if connections < 2:
                            fail("the connection was never cut")
                        print(f"stopped by 204 after {last} events", flush=True)
                        return
                    if status == 503:
                        print("503", flush=True)
                    else:
                        source.response.raise_for_status()
                        connections += 1
                        print(f"connection {connections}", flush=True)
                        for event in source.iter_sse():
                            if event.retry is not None:
                                pause = event.retry / 1000
                            if not event.data:
                                # This client tells of a block that only sets the pause, too.
                                continue
                            if is_done:
                                fail(f"{event.event} after done")
                            if event.id != str(last + 1):
                                fail(f"id {event.id}, not {last + 1}")
                            json.loads(event.data)
                            last += 1
                            is_done = event.event == "done"
                            print(f"seen {last} {event.event}", flush=True)
            except httpx.TransportError as error:
                print(f"reconnects: {error!r}", flush=True)
            if not is_done:
                time.sleep(pause)
    fail(f"no end within the time; the last event was {last}")


main()
