"""Worker check: a job that only behaves, or misbehaves, as asked, to show an administrator what a worker makes of it."""

from __future__ import annotations

import json
import os
import socket
import time
from typing import Literal

from pydantic import Field

from mlcore.errors import InputError
from mlcore.toolchain.sandbox import Limits
from portal.jobs.context import JobContext
from portal.jobs.registry import JobType, Params
from portal.jobs.results import Figure, Result, Table


class WorkerCheckParams(Params):
    """How long, how large, and how it is to end."""

    seconds: float = Field(2.0, ge=0, le=3600, title="Run for", description="Seconds", json_schema_extra={"x-unit": "s"})
    memory_mb: int = Field(
        0, ge=0, le=65536, title="Use memory", description="Megabytes to fill and hold", json_schema_extra={"x-unit": "MB"}
    )
    ending: Literal["well", "error", "crash", "exit"] = Field(
        "well", title="End", description="well; with a user's error; with an exception; or by leaving without a word"
    )


class WorkerCheck(JobType[WorkerCheckParams]):
    slug = "worker-check"
    title = "Worker check"
    summary = "Run for a while, use memory, end well or badly: shows that a worker keeps its limits"
    duration = "as long as asked"
    gives = (("report.json", "what the child process saw"),)
    limits = Limits(memory_bytes=2 * 2**30, wall_seconds=3600, cpu_seconds=3600)
    staff_only = True
    Params = WorkerCheckParams

    def name_run(self, params: WorkerCheckParams, files: object) -> str:
        return f"{self.title}, {params.seconds:g} s"

    def run(self, context: JobContext, params: WorkerCheckParams) -> Result:
        start = time.monotonic()
        context.log(f"process {os.getpid()} runs for {params.seconds:g} s")
        held = bytearray(os.urandom(1)) * (params.memory_mb * 1_000_000)
        while (passed := time.monotonic() - start) < params.seconds:
            context.progress(passed / params.seconds, "Counting")
            time.sleep(min(0.2, params.seconds - passed))
        match params.ending:
            case "error":
                raise InputError("The worker check was asked to fail.", hint="Choose another ending.", code="check.asked")
            case "crash":
                raise RuntimeError("the worker check was asked to crash")
            case "exit":
                os._exit(3)
        report = {"seconds": round(time.monotonic() - start, 3), "memory": len(held), "network": _network_reachable()}
        path = context.folder / "report.json"
        path.write_text(json.dumps(report, indent=1))
        context.artifact(path, kind="report", title="What the child process saw")
        return Result(
            figures=(
                Figure("Ran for", f"{report['seconds']:.2f} s", f"asked for {params.seconds:g} s"),
                Figure("Memory held", f"{params.memory_mb} MB"),
            ),
            tables=(
                Table("Seen from inside", ("What", "Is"), (("Network interfaces besides loopback", str(report["network"])),)),
            ),
        )


def _network_reachable() -> int:
    """How many network interfaces besides loopback the child sees; none inside bubblewrap."""
    return sum(name != "lo" for _, name in socket.if_nameindex())
