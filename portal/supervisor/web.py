"""One web server process on the listening socket that the supervisor hands over as standard input.

The supervisor keeps that socket, so a web process that dies and comes back refuses nobody, and several share one port.
"""

from __future__ import annotations

import socket

import uvicorn

GRACE_SECONDS = 2
"""How long open requests may go on once the portal stops; streams of events never end by themselves."""


def main() -> None:
    """Serve until a signal ends the process."""
    config = uvicorn.Config(
        "portal.asgi:application",
        lifespan="off",
        access_log=False,
        log_config=None,  # the settings' logging holds
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=0)])


if __name__ == "__main__":
    main()
