"""Pages of a whole portal at a constant rate: the home page and the page of a finished job, signed in."""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks.forests import models
from benchmarks.load import Load, drive
from benchmarks.measure import Comparison, Settings, summary
from benchmarks.portal import Portal, scratch

TITLE = "Pages of the portal"

RATE = 200.0  # requests per second
JOBS = 8  # as many as the home page shows
GOAL = "200 home and job pages a second on two cores, 95 % of them within 100 ms"


def run(settings: Settings) -> list[Comparison]:
    """Some runs of both pages in turn, after looking at what they show."""
    seconds, runs = (5.0, 1) if settings.quick else (20.0, 5)
    model = models.trained_one(settings.cache, replace(models.recipes(quick=True)[1], key="xgboost-50x6", n_trees=50))
    with scratch(settings.cache / "web") as folder, Portal(folder) as portal:
        cookies = portal.sign_in()
        pages = _pages(portal, model)
        sizes = {name: _check(portal, page, cookies, expected) for name, (page, expected) in pages.items()}
        requests = [_request(portal, page, cookies) for page, _ in pages.values()]
        drive(portal.port, requests, rate=20, seconds=3)  # first use of templates and caches
        loads: list[Load] = []
        spent: list[float] = []
        for _ in range(runs):
            time.sleep(1)
            before = _cpu_seconds(portal)
            loads.append(drive(portal.port, requests, rate=RATE, seconds=seconds))
            spent.append(_cpu_seconds(portal) - before)
    measured = {
        f"{percent} % of requests": summary([1e3 * load.percentile(percent) for load in loads]) for percent in (50, 95, 99)
    }
    return [
        Comparison(
            task=f"{RATE:.0f} requests a second for {seconds:.0f} s, half home page, half a finished job's page",
            goal=GOAL,
            unit="ms",
            ours="95 % of requests",
            measured=measured,
            bound=100.0,
            peers=(),
            facts={
                "arrivals": "constant rate whether or not answers come, durations counted from when a request was due",
                "answered": f"{min(load.rate for load in loads):.1f} a second in the slowest run",
                "failed": str(sum(load.failed for load in loads)),
                "connections": f"at most {max(load.connections for load in loads)}",
                "CPU time of the web processes": _per_request(spent, loads, "ms per request"),
                "CPU time of the generator": f"{1e3 * max(load.cpu for load in loads):.2f} ms per request, on the same cores",
                "load of the machine": f"{os.getloadavg()[0]:.1f} at the end, portal included",
                **{f"size of the {name} page": f"{size / 1e3:.0f} kB" for name, size in sizes.items()},
            },
        )
    ]


def _pages(portal: Portal, model: Path) -> dict[str, tuple[str, tuple[str, ...]]]:
    """The pages by name: address, and what must be on it. The jobs of which they tell are really run."""
    token = portal.token()
    file = portal.call(token, "PUT", "/files?name=model.ubj", model.read_bytes(), "application/octet-stream")
    jobs = [
        portal.run_job(token, "forest-to-cpp", {"model": file["id"], "name": f"forest{number}", "rows": 1000})
        for number in range(JOBS)
    ]
    last = jobs[-1]
    addresses = [f"/jobs/{job['id']}" for job in jobs]
    hashes = [artifact["sha256"] for artifact in last["artifacts"]]
    assert hashes, "the job made nothing"
    return {
        "home": ("/", ("Ask about ROOT", *addresses)),
        "job": (addresses[-1], (last["title"], "forest7.hpp", 'id="log-text"', *hashes)),
    }


def _check(portal: Portal, page: str, cookies: Mapping[str, str], expected: tuple[str, ...]) -> int:
    """Look at a page once; returns its size in bytes."""
    connection = portal.connect()
    connection.request("GET", page, headers={"Cookie": _cookie(cookies)})
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    assert response.status == http.client.OK, f"{page} was answered with status {response.status}"
    missing = [part for part in expected if part not in text]
    assert not missing, f"{page} lacks {missing[:3]}"
    return len(text.encode())


def _request(portal: Portal, page: str, cookies: Mapping[str, str]) -> bytes:
    lines = (f"GET {page} HTTP/1.1", f"Host: 127.0.0.1:{portal.port}", f"Cookie: {_cookie(cookies)}", "Accept: text/html")
    return "\r\n".join((*lines, "", "")).encode()


def _cookie(cookies: Mapping[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


def _cpu_seconds(portal: Portal) -> float:
    """CPU time that the web processes have used so far."""
    total = 0.0
    for top in portal.processes("web"):
        for process in (top, *top.children(recursive=True)):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def _per_request(spent: list[float], loads: list[Load], unit: str) -> str:
    values = [1e3 * seconds / (len(load.seconds) + load.failed) for seconds, load in zip(spent, loads, strict=True)]
    return f"{summary(values).median:.2f} {unit}"
