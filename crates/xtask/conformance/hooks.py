"""What Schemathesis is told beyond the document: what no schema can say, so that its requests get further.

Only requests that were made up to be right are changed, so that they fit the state of the server too. Those that were made
up to be wrong are sent as they are.
"""

import atexit
import collections
import datetime
import itertools
import json
import os

import requests
import schemathesis
from schemathesis.generation import GenerationMode

BASE, SECRET = os.environ["DEED_BASE"], os.environ["DEED_SECRET"]
USER, KEY = os.environ["DEED_USER"], os.environ["DEED_KEY"]
"""Who the requests come from. Were they disabled or revoked, every request after that would be answered 401."""

ANY_TYPE = "conformance.any"
"""An action type that takes any input: whether an input fits is decided by its type, not by the document."""

SPARES = {
    USER: os.environ["DEED_SPARE_USER"],
    KEY: os.environ["DEED_SPARE_KEY"],
    ANY_TYPE: "conformance.spare",
}
"""Whom to change or end instead."""

HOUR = datetime.timedelta(hours=1)

counts = collections.Counter()
cursors = {}
"""The latest `next_cursor` of each list: a cursor that somebody has made up is refused."""
numbers = itertools.count()

requests.put(
    f"{BASE}/action-types/{ANY_TYPE}", json={}, headers={"X-API-Key": SECRET}, timeout=10
).raise_for_status()


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """OpenAPI 3.1 describes a stream as one text that holds events; Schemathesis looks for one event at a time."""
    for item in raw_schema["paths"].values():
        for operation in item.values():
            for answer in operation["responses"].values():
                stream = answer.get("content", {}).get("text/event-stream")
                if stream is not None:
                    schema = stream.pop("schema")
                    if "$ref" in schema:
                        schema = raw_schema["components"]["schemas"][schema["$ref"].split("/")[-1]]
                    stream["itemSchema"] = schema.get("contentSchema", {}).get("items", {})


@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else json.dumps(value).encode()


@schemathesis.hook
def before_call(context, case, kwargs):
    keep_the_caller(case)
    if is_positive(case):
        act_for_oneself(case)
        fit_query(case)
        fit_body(case)


def is_positive(case):
    return case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE


def keep_the_caller(case):
    if case.method.upper() not in ("GET", "HEAD", "OPTIONS"):
        for name, value in (case.path_parameters or {}).items():
            if value in SPARES:
                case.path_parameters[name] = SPARES[value]


def act_for_oneself(case):
    """A user that somebody has made up does not exist: nothing but 404 would be seen.

    Schemathesis 4.32 takes 0 for right, too, where a pattern says the form of a header that names an object.
    """
    for name in list(case.headers or {}):
        if name.lower() == "x-user-id":
            case.headers[name] = USER
        # A position beyond the end of the log is refused, and the end is not in the document.
        elif name.lower() == "last-event-id":
            case.headers[name] = "0"


def fit_query(case):
    query = case.query or {}
    if "cursor" in query:
        known = cursors.get(list_of(case))
        if known is None:
            del query["cursor"]
        else:
            query["cursor"] = known
    # Made up, it would be no ticket; the header with the key is there.
    query.pop("ticket", None)
    if "last_event_id" in query:
        query["last_event_id"] = "0"
    if case.path == "/leases/{lease_id}/events":
        # It stands in the query where the events come line by line, else in the body.
        if case.media_type == "application/json":
            query.pop("from_seq", None)
        else:
            query.setdefault("from_seq", 1)
            case.query = query


def list_of(case):
    """Which list, with which filters: a cursor belongs to these."""
    filters = {name: str(value) for name, value in (case.query or {}).items() if name not in ("cursor", "limit")}
    return case.path, json.dumps(filters, sort_keys=True)


def fit_body(case):
    if case.path == "/leases/{lease_id}/events" and case.media_type != "application/json":
        event = {"event": "message", "data": case.body if isinstance(case.body, str) else None}
        case.body = json.dumps(event) + "\n"
        return
    if not isinstance(case.body, dict):
        return
    body = case.body
    fit_action(body)
    for action in body.get("actions") or []:
        fit_action(action)
    # A name has 100 characters at the most, in a scope too, where a pattern can't count them.
    scopes = body.get("scopes") or []
    for place, scope in enumerate(scopes):
        if len(scope) > 100:
            scopes[place] = "actions:read"
    if body.get("expires_at") is not None:
        body["expires_at"] = soon()
    if body.get("input_schema") is not None:
        # A schema has to be one, and its meta-schema is not in the document.
        body["input_schema"] = {"type": ["object", "null"]}
    if case.path == "/leases/{lease_id}/events" and not body.get("events"):
        body["events"] = [{"event": "message", "data": "something"}]
    for event in body.get("events") or []:
        if event.get("event") == "progress":
            event["data"] = {"percent": 50}
    if case.path == "/leases/finish":
        # No lease may be ended twice in one request.
        for item in body.get("items") or []:
            item["lease_id"] = f"{item['lease_id']}{next(numbers)}"


def fit_action(body):
    if not isinstance(body, dict) or "type" not in body or "input" not in body:
        return
    text = body["input"].get("text") if isinstance(body["input"], dict) else None
    if not (body["type"] == "echo" and isinstance(text, str) and len(body["input"]) == 1):
        body["type"] = ANY_TYPE
    if body.get("run_at") is not None:
        body["run_at"] = soon()


def soon():
    return (datetime.datetime.now(datetime.timezone.utc) + HOUR).isoformat()


@schemathesis.hook
def after_call(context, case, response):
    phase = case.meta.phase.name.value if case.meta is not None else "extra"
    counts[phase] += 1
    if case.method.upper() == "GET" and response.status_code == 200:
        remember_cursor(case, response)


def remember_cursor(case, response):
    try:
        cursor = response.json().get("next_cursor")
    except (ValueError, AttributeError):
        return
    if cursor:
        cursors[list_of(case)] = cursor


@atexit.register
def write_counts():
    with open(os.environ["DEED_COUNTS"], "w", encoding="utf-8") as file:
        json.dump(counts, file)
