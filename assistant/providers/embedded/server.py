"""The server itself: llama.cpp's own HTTP server, as xllamacpp ships it, and a stand-in for while it cannot start yet."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from assistant.errors import ProviderError

_MAGIC = b"GGUF"
_POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What to serve and how.

    Attributes
    ----------
    name
        The model's name in the API; the file's name without its ending where empty.
    context
        Tokens that one request may use, prompt and answer together.
    threads
        CPU threads; 0 for one per core while reading the prompt and one fewer while writing.
    slots
        Requests answered at a time, each with a context of its own; more wait in line.
    """

    model: Path
    host: str = "127.0.0.1"
    port: int = 8088
    name: str = ""
    context: int = 4096
    threads: int = 0
    slots: int = 1


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that runs in threads of this process for as long as this object lives."""

    address: str
    native: Any


def serve(options: ServerOptions, *, wait: bool = False) -> Serving:
    """Load the model and listen; returns once requests are answered.

    Parameters
    ----------
    wait
        Where the model's file is not there yet, wait for it instead of failing; every request is answered 503 meanwhile.

    Raises
    ------
    ProviderError
        For a file that is missing or no GGUF file, a port that is taken, or a model that the server cannot load.
    """
    if wait and not options.model.exists():
        with _stand_in(options):
            while not options.model.exists():
                time.sleep(_POLL_SECONDS)
    _check_file(options.model)
    _check_port(options)
    return _start(options)


def _start(options: ServerOptions) -> Serving:
    import xllamacpp

    name = options.name or options.model.stem
    cores = _usable_cores()
    params = xllamacpp.CommonParams()
    params.model.path = str(options.model)
    params.model_alias = {name}
    params.hostnames = [options.host]
    params.port = options.port
    params.n_parallel = options.slots
    params.n_ctx = options.context * options.slots
    # While tokens are written, the threads wait for each other after every layer. Where something else wants a core, all then
    # stand still until the last one gets its turn: one thread fewer than cores writes ten times faster on a busy machine.
    params.cpuparams.n_threads = options.threads or max(1, cores - 1)
    params.cpuparams_batch.n_threads = options.threads or cores
    params.cpuparams.poll = params.cpuparams_batch.poll = 0  # wait without burning the core that another process could use
    params.cache_ram_mib = 256
    params.ui = False
    params.endpoint_slots = False
    # A page of the web must not read answers from a server on the reader's machine: only programs talk to it.
    params.cors_origins = "http://no-page.invalid"
    params.cors_credentials = False
    params.verbosity = 2
    try:
        native = xllamacpp.Server(params)
    except RuntimeError as error:
        raise ProviderError(
            f"The language-model server could not load {options.model}: {error}",
            permanent=True,
            hint="Its log says why: too little memory, or a model that this version does not know.",
            code="provider.load",
        ) from error
    return Serving(native.listening_address, native)


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux: what this process may use, not what the machine has
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check_file(path: Path) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        raise ProviderError(
            f"The model file cannot be read: {error}",
            permanent=True,
            hint="Fetch it with: ml4ep models pull",
            code="provider.model-file",
        ) from error
    if magic != _MAGIC:
        raise ProviderError(
            f"{path} is not a GGUF model file.", permanent=True, hint="Give a .gguf file.", code="provider.model-file"
        )


def _check_port(options: ServerOptions) -> None:
    """Say clearly that a port is taken: the native server says only that it could not start."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((options.host, options.port))
        except OSError as error:
            raise ProviderError(
                f"The language-model server cannot listen on {options.host}:{options.port}: {error.strerror}.",
                permanent=True,
                hint="Another program uses the port; choose another one.",
                code="provider.port",
            ) from error


class _WaitingHandler(BaseHTTPRequestHandler):
    """Answers every request as the real server does while it loads: 503 with a JSON error."""

    def do_GET(self) -> None:
        message = "The model file is not there yet; the server starts as soon as it is."
        body = json.dumps({"error": {"code": 503, "message": message, "type": "unavailable_error"}}).encode()
        self.send_response(503)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Retry-After", "5")
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep the log for what happens to the model."""


@contextlib.contextmanager
def _stand_in(options: ServerOptions) -> Iterator[None]:
    _check_port(options)
    with ThreadingHTTPServer((options.host, options.port), _WaitingHandler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        yield
        server.shutdown()
        thread.join()
