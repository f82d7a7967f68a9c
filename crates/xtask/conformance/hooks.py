"""What Schemathesis is told beyond the document: what no schema can say, so that its requests get further."""

import atexit
import collections
import json
import os
import uuid

import schemathesis
from schemathesis.generation import GenerationMode

USER, KEY = os.environ["DEED_USER"], os.environ["DEED_KEY"]
"""Who the requests come from. Were they disabled or revoked, every request after that would be answered 401."""

SPARES = {USER: os.environ["DEED_SPARE_USER"], KEY: os.environ["DEED_SPARE_KEY"]}
"""Whom to change or end instead."""

counts = collections.Counter()


@schemathesis.hook
def before_call(context, case, kwargs):
    keep_the_caller(case)
    act_for_oneself(case)


def keep_the_caller(case):
    if case.method.upper() not in ("GET", "HEAD", "OPTIONS"):
        for name, value in (case.path_parameters or {}).items():
            if value in SPARES:
                case.path_parameters[name] = SPARES[value]


def act_for_oneself(case):
    """A user that somebody has made up does not exist: nothing but 404 would be seen."""
    for name in list(case.headers or {}):
        if name.lower() == "x-user-id" and is_uuid(case.headers[name]):
            case.headers[name] = USER


def is_uuid(text):
    try:
        uuid.UUID(text)
    except (ValueError, TypeError, AttributeError):
        return False
    return True


def is_positive(case):
    return case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE


@schemathesis.hook
def after_call(context, case, response):
    phase = case.meta.phase.name.value if case.meta is not None else "extra"
    counts[phase] += 1


@atexit.register
def write_counts():
    with open(os.environ["DEED_COUNTS"], "w", encoding="utf-8") as file:
        json.dump(counts, file)
