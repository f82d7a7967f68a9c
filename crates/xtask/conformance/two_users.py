"""Whether another user's objects look exactly like objects that do not exist.

Reads the document that the server serves. Every operation whose path names an object is asked for an object of Alice's
with Bob's key, and for one that nobody has: the answers have to be the same, 404, and Alice's object has to be as it was.
Every list is looked through for what is Alice's. So a new operation is tried as soon as it is in the document; one with a
kind of object that this script can't make is a failure until it can.

The last line is a summary: {"cases": n, "failures": n}.
"""

import json
import os
import sys
import uuid

import httpx

BASE = os.environ["DEED_BASE"]
ROOT = os.environ["DEED_ROOT_KEY"]
ALICE = {"id": os.environ["DEED_ALICE"], "secret": os.environ["DEED_ALICE_SECRET"]}
BOB = {"id": os.environ["DEED_BOB"], "secret": os.environ["DEED_BOB_SECRET"]}

WORK = "conformance.two-users"
"""An action type for workers, so that its actions stay as they are."""

SHARED = {
    "/action-types": "types belong to nobody: who may read one may read them all",
    "/problems": "pages of the documentation",
}
"""Collections whose objects are everybody's, each with the reason."""

OWN_WORDS = {"request_id", "instance"}
"""What tells two answers apart that are otherwise the same."""

cases = 0
failures = []
client = httpx.Client(base_url=BASE, timeout=10, trust_env=False)


def call(secret, method, path, body=None, headers=None, content_type=None):
    headers = {"X-API-Key": secret, "Accept": "application/json", **(headers or {})}
    content = None
    if body is not None:
        content = body if isinstance(body, str) else json.dumps(body)
        headers["Content-Type"] = content_type or "application/json"
    return client.request(method, path, content=content, headers=headers)


def made(answer):
    if answer.status_code not in (200, 201, 202):
        sys.exit(f"{answer.request.method} {answer.request.url.path}: {answer.text}")
    return answer.json()


def act_for_alice(method, path, body=None, headers=None):
    """As the operator for Alice, whose own key is not to be spent on what needs more rights."""
    return made(call(ROOT, method, path, body, {"X-User-ID": ALICE["id"], **(headers or {})}))


def new_action():
    body = {"type": WORK, "input": {}}
    return act_for_alice("POST", "/actions", body, {"Prefer": "respond-async"})["id"]


def new_lease():
    new_action()
    body = {"types": [WORK], "max": 1, "lease_seconds": 60, "worker": "two-users"}
    return made(call(ROOT, "POST", "/leases", body))["leases"][0]["lease_id"]


def new_key():
    return act_for_alice("POST", "/api-keys", {"name": "a key", "scopes": ["actions:read"]})["id"]


def some_lease():
    """Formed like a lease's id, and nobody's."""
    return new_lease()[:-8] + "00000000"


OBJECTS = {
    "/users": (lambda: ALICE["id"], lambda: str(uuid.uuid4())),
    "/api-keys": (new_key, lambda: str(uuid.uuid4())),
    "/actions": (new_action, lambda: str(uuid.uuid4())),
    "/leases": (new_lease, some_lease),
}
"""For each collection: how Alice gets an object of it, and the name of one that nobody has."""


def example(operation):
    """A body that the operation takes, and its media type."""
    content = operation.get("requestBody", {}).get("content", {})
    for media_type in ("application/json", "application/merge-patch+json"):
        media = content.get(media_type)
        if media is None:
            continue
        if "example" in media:
            return media["example"], media_type
        examples = media.get("examples", {})
        for one in examples.values():
            return one["value"], media_type
    if content:
        return None, None
    return "", None


def told(answer):
    """An answer without what differs between any two."""
    try:
        body = {name: value for name, value in answer.json().items() if name not in OWN_WORDS}
    except ValueError:
        body = answer.text
    return {"status": answer.status_code, "body": body}


def check(name, is_right, message):
    global cases
    cases += 1
    if not is_right:
        failures.append(f"{name}: {message}")


def try_object(method, path, operation):
    name = f"{method} {path}"
    collection = path[: path.index("/{")]
    if collection in SHARED:
        return
    if collection not in OBJECTS:
        check(name, False, "two_users.py does not know how an object of it is made")
        return
    body, media_type = example(operation)
    if body is None:
        check(name, False, "the document has no example of the body")
        return
    body = body if body != "" else None
    of_alice, of_nobody = OBJECTS[collection]
    start, rest = path.split("{", 1)
    end = rest.split("}", 1)[1]
    if "{" in end:
        check(name, False, "two_users.py does not know of objects in objects")
        return
    theirs, none = of_alice(), of_nobody()
    query = "".join(
        f"?{parameter['name']}=1"
        for parameter in operation.get("parameters", [])
        if parameter.get("in") == "query" and parameter.get("required")
    )
    before = state(collection, theirs)
    for who, headers in (("Bob", {}), ("Bob, for Alice", {"X-User-ID": ALICE["id"]})):
        foreign = call(BOB["secret"], method, f"{start}{theirs}{end}{query}", body, headers, media_type)
        absent = call(BOB["secret"], method, f"{start}{none}{end}{query}", body, headers, media_type)
        check(name, told(foreign) == told(absent), f"{who} can tell: {told(foreign)}, {told(absent)}")
        error = told(foreign)["body"]
        error = error.get("error") if isinstance(error, dict) else None
        is_closed = foreign.status_code == 404 or error in ("insufficient_scope", "act_as_not_allowed")
        check(name, is_closed, f"{who} is answered {foreign.status_code} {foreign.text}")
    check(name, state(collection, theirs) == before, "Alice's object has changed")
    # Or all of this would prove nothing: for those who may, it is there.
    owner = {} if collection == "/leases" else {"X-User-ID": ALICE["id"]}
    if method == "DELETE" and theirs == ALICE["id"]:
        return
    answer = call(ROOT, method, f"{start}{theirs}{end}{query}", body, owner, media_type)
    check(name, answer.status_code not in (401, 403, 404), f"it is not there for Alice: {answer.text}")


def state(collection, name):
    """What the operator sees of an object, if it can be looked at."""
    if collection == "/leases":
        body = {"lease_ids": [name]}
        return call(ROOT, "POST", "/leases/heartbeat", body).json()["leases"][0]["ok"]
    return call(ROOT, "GET", f"{collection}/{name}").text


def try_list(path):
    """Whether Bob's list holds anything of Alice's."""
    answer = call(BOB["secret"], "GET", path)
    name = f"GET {path}"
    if answer.status_code == 403:
        check(name, answer.json()["error"] == "insufficient_scope", answer.text)
        return
    if path in SHARED:
        return
    check(name, answer.status_code == 200, f"is answered {answer.status_code} {answer.text}")
    check(name, ALICE["id"] not in answer.text, "holds something of Alice's")


def main():
    document = client.get("/openapi.json").json()
    made(call(ROOT, "PUT", f"/action-types/{WORK}", {}))
    new_action(), new_key()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method not in ("get", "put", "post", "patch", "delete"):
                continue
            if operation.get("security") == []:
                continue
            if "{" in path:
                try_object(method.upper(), path, operation)
            elif method == "get":
                try_list(path)
    for failure in failures:
        print(failure)
    print(json.dumps({"cases": cases, "failures": len(failures)}))


main()
