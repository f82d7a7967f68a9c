"""What a Python client that was generated from the OpenAPI document does with a running server."""

import contextlib
import importlib
import json
import os
import pkgutil

import deed_api
import httpx
from deed_api import AuthenticatedClient
from deed_api.api.action_types import put_action_type
from deed_api.api.actions import create_action, get_action, list_actions
from deed_api.api.api_keys import create_api_key
from deed_api.api.leases import complete_lease, lease_actions, report_events
from deed_api.api.streams import create_stream, get_action_events
from deed_api.api.users import create_user
from deed_api.models import (
    ActionBody,
    ActionStatus,
    CompleteLease,
    CreateAction,
    CreateApiKey,
    CreateUser,
    DoneEvent,
    IssuedApiKeyBody,
    LeaseActions,
    LeasesBody,
    PageOfActionSummaryBody,
    PageOfEventBody,
    Problem,
    PutActionType,
    PutRetry,
    ReportEvents,
    ReportedBody,
    UserBody,
    WorkerEvent,
    WorkerEventName,
)


def every_module():
    """What does not compile, or imports what is not there, is found here."""
    for module in pkgutil.walk_packages(deed_api.__path__, "deed_api."):
        importlib.import_module(module.name)


def client(secret, **headers):
    return AuthenticatedClient(
        base_url=os.environ["DEED_BASE"],
        token=secret,
        prefix="",
        auth_header_name="X-API-Key",
        headers=headers,
        timeout=httpx.Timeout(20),
        raise_on_unexpected_status=True,
    )


def taken(answer, kind):
    """What came, which is of the type that the document has for it."""
    assert isinstance(answer, kind), answer
    return answer


def events(text):
    """The fields of each event of a stream."""
    blocks = [block for block in text.split("\n\n") if block.startswith("id:")]
    return [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]


def main(clients):
    """What is opened is entered into `clients`, which closes it."""
    every_module()
    operator = clients.enter_context(client(os.environ["DEED_ROOT_KEY"]))
    account = CreateUser(email="python@example.com", name="Guido", password="correct horse battery")
    user = taken(create_user.sync(client=operator, body=account), UserBody)
    assert user.email == account.email

    # An error has its type.
    again = create_user.sync_detailed(client=operator, body=account)
    assert again.status_code == 409
    assert taken(again.parsed, Problem).error == "user_already_exists"
    account.email = "nobody"
    wrong = taken(create_user.sync(client=operator, body=account), Problem)
    assert (wrong.error, wrong.errors[0].pointer) == ("validation_failed", "#/email")

    wish = CreateApiKey(name="smoke", scopes=["actions:read", "actions:write"])
    key = taken(create_api_key.sync(client=operator, body=wish, x_user_id=str(user.id)), IssuedApiKeyBody)
    assert key.user_id == user.id
    mine = clients.enter_context(client(key.secret))

    echo = CreateAction(type_="echo", input_={"text": "hello world"})
    performed = create_action.sync_detailed(client=mine, body=echo, idempotency_key="smoke-1")
    action = taken(performed.parsed, ActionBody)
    assert performed.status_code == 201
    assert performed.headers["Location"] == f"/actions/{action.id}"
    assert (action.status, action.output) == (ActionStatus.SUCCEEDED, {"text": "hello world"})
    assert taken(get_action.sync(action.id, client=mine), ActionBody) == action

    page = taken(list_actions.sync(client=mine, status=ActionStatus.SUCCEEDED, limit=1), PageOfActionSummaryBody)
    assert ([item.id for item in page.items], page.next_cursor) == ([action.id], None)

    # Where an answer has two forms, the client reads the first: it has to be asked for.
    reader = clients.enter_context(client(key.secret, Accept="application/json"))
    log = taken(get_action_events.sync(action.id, client=reader), PageOfEventBody)
    assert log.items[-1].event == "done"

    # A stream comes as the text that it was, once it is over.
    stream = events(taken(create_stream.sync(client=mine, body=echo), str))
    assert [event["event"] for event in stream] == ["created", "started", "message", "message", "done"]
    done = DoneEvent.from_dict(stream[-1])
    assert json.loads(done.data) == {"status": "succeeded", "output": {"text": "hello world"}}

    # A worker.
    name = "smoke.python"
    assert put_action_type.sync(name, client=operator, body=PutActionType(retry=PutRetry(factor=1.5))).name == name
    body = CreateAction(type_=name, input_=1)
    waiting = taken(create_action.sync(client=mine, body=body, prefer="respond-async"), ActionBody)
    body = LeaseActions(types=[name], worker="smoke", wait_seconds=5)
    lease = taken(lease_actions.sync(client=operator, body=body), LeasesBody).leases[0]
    assert lease.action.id == waiting.id
    body = ReportEvents(from_seq=lease.next_seq, events=[WorkerEvent(event=WorkerEventName.MESSAGE, data="half")])
    reported = report_events.sync(lease.lease_id, client=operator, body=body)
    assert taken(reported, ReportedBody).next_seq == lease.next_seq + 1
    complete_lease.sync(lease.lease_id, client=operator, body=CompleteLease(output={"sum": 2}))
    ended = taken(get_action.sync(waiting.id, client=mine), ActionBody)
    assert (ended.status, ended.output) == (ActionStatus.SUCCEEDED, {"sum": 2})

    print("The Python client does what it says.")


with contextlib.ExitStack() as opened:
    main(opened)
