"""Talking to what runs: supervisord over its socket, the portal over its health check."""

from __future__ import annotations

import http.client
import json
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HEALTH_TIMEOUT = 5.0


@dataclass(frozen=True)
class ProcessInfo:
    """One program as supervisord sees it; ``pid`` is 0 while it does not run."""

    name: str
    group: str
    state: str
    pid: int
    log: str


class Control:
    """Orders for supervisord. While it does not answer, it is treated as running nothing."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._transport: Any = None

    def processes(self) -> list[ProcessInfo]:
        """All programs and their states; empty while supervisord is not there."""
        return [
            ProcessInfo(row["name"], row["group"], row["statename"], row["pid"], row["stdout_logfile"])
            for row in self._call("getAllProcessInfo") or []
        ]

    def start(self, info: ProcessInfo) -> None:
        """Start a program that was given up."""
        self._call("startProcess", f"{info.group}:{info.name}", False)

    def close(self) -> None:
        """Close the connection; the next order opens another."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def _call(self, method: str, *arguments: Any) -> Any:
        from supervisor.xmlrpc import SupervisorTransport

        if self._transport is None:
            self._transport = SupervisorTransport(serverurl=f"unix://{self._socket}")
        proxy: Any = xmlrpc.client.ServerProxy("http://localhost", transport=self._transport)
        try:
            return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault:
            return None
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            self.close()
            return None


def read_health(host: str, port: int) -> dict[str, str] | None:
    """What the portal's ``/healthz`` says; None while it does not answer."""
    connection = http.client.HTTPConnection(host, port, timeout=HEALTH_TIMEOUT)
    try:
        connection.request("GET", "/healthz")
        found = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else None
