# ruff: noqa: E402  (models can be imported only after the set-up)
"""A process beside a running portal that submits jobs and reads their state: one JSON request a line, one JSON answer a line.

Run by the tests with the environment of the portal under test, whose database and broker it uses as the web process does.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import django

django.setup()

from portal.accounts.services import create_token, local_administrator
from portal.jobs import services
from portal.jobs.models import Job


def submit(slug: str, params: dict[str, Any]) -> str:
    return str(services.submit(local_administrator(), slug, params).pk)


def token() -> str:
    return create_token(local_administrator(), "tests")


def cancel(job: str) -> bool:
    return services.cancel(Job.objects.get(pk=job))


def state(job: str) -> dict[str, Any]:
    found = Job.objects.get(pk=job)
    return {
        "state": found.state,
        "attempt": found.attempt,
        "progress": found.progress,
        "error_code": found.error_code,
        "error_message": found.error_message,
        "worker": found.worker,
        "artifacts": [{"name": item.name, "sha256": item.sha256, "path": item.path} for item in found.artifacts.all()],
        "log": "".join(found.log_chunks.values_list("text", flat=True)),
        "result": found.result,
    }


COMMANDS = {"token": token, "submit": submit, "cancel": cancel, "state": state}

if __name__ == "__main__":
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(COMMANDS[name](*arguments)), flush=True)
