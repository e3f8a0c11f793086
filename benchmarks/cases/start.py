"""How long a portal takes from the command to the line that says it is ready."""

from __future__ import annotations

import http.client
import json
import os

from benchmarks.measure import Comparison, Settings, summary
from benchmarks.portal import Portal, scratch

TITLE = "Start of the portal"

OURS, FIRST = "prepared folder", "new folder"


def run(settings: Settings) -> list[Comparison]:
    """One start on a new folder, then some on the same."""
    with scratch(settings.cache / "start") as folder:
        first = _start(Portal(folder))
        again = [_start(Portal(folder)) for _ in range(1 if settings.quick else 5)]
    return [
        Comparison(
            task="from `python -m portal.supervisor` until “Ready”",
            goal="a second `make run` is ready within 10 s",
            unit="s",
            ours=OURS,
            measured={OURS: summary(again), FIRST: summary([first])},
            bound=10.0,
            peers=(),
            facts={
                "ready": "database, broker and the workers of every queue answer the health check",
                "a new folder": "the database is made and the static files are collected as well",
                "without": "language model and index, which come up behind a ready portal",
                "load of the machine": f"{os.getloadavg()[0]:.1f} at the end, portal included",
            },
        )
    ]


def _start(portal: Portal) -> float:
    """Seconds until ready; the health check must agree."""
    try:
        seconds = portal.start()
        connection = portal.connect()
        connection.request("GET", "/healthz")
        response = connection.getresponse()
        health = json.loads(response.read())
        connection.close()
        assert response.status == http.client.OK, f"not healthy: {health}"
        assert all(health[part] == "ok" for part in ("db", "broker", "workers")), f"not healthy: {health}"
    finally:
        portal.stop()
    return seconds
