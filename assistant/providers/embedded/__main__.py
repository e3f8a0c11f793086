"""Start the embedded language-model server from the command line."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from assistant.errors import ProviderError
from assistant.providers.embedded.server import ServerOptions, serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal ends the process.

    Returns
    -------
    int
        The exit status: 1 where the server could not start. SIGTERM and SIGINT end the process at once, status -15 and -2.
    """
    # The server's threads are native code that knows no Python signal handler; the default action ends them all.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    given = _parser().parse_args(arguments)
    options = ServerOptions(given.model, given.host, given.port, given.name, given.context, given.threads, given.slots)
    try:
        serving = serve(options, wait=given.wait)
    except ProviderError as error:
        print(f"{error.message} {error.hint}".strip(), file=sys.stderr)
        return 1
    print(f"Serving {given.model.name} at {serving.address}", flush=True)
    threading.Event().wait()
    return 0


def _parser() -> argparse.ArgumentParser:
    defaults = ServerOptions(Path())
    parser = argparse.ArgumentParser(prog="python -m assistant.providers.embedded", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="the GGUF file")
    parser.add_argument("--wait", action="store_true", help="wait for a file that is not there yet, answering 503 meanwhile")
    parser.add_argument("--host", default=defaults.host, help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=defaults.port, help="port to listen on, 0 for any free one")
    parser.add_argument("--name", default=defaults.name, help="the model's name in the API (default: the file's name)")
    parser.add_argument("--context", type=int, default=defaults.context, help="tokens a request may use (default: %(default)s)")
    parser.add_argument(
        "--threads", type=int, default=defaults.threads, help="CPU threads (default: one per core to read, one fewer to write)"
    )
    parser.add_argument("--slots", type=int, default=defaults.slots, help="requests answered at a time (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
