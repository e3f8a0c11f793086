"""The other side of `mlcore.networks.isolated`: a process that loads one library and does what it is asked, until nobody asks.

Run as ``python -m mlcore.networks.child WRITING``: requests come on standard input, answers go to the file descriptor WRITING.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from mlcore.errors import MLCoreError
from mlcore.networks.calling import Face, Native
from mlcore.networks.frames import Channel, FrameError


def main(writing: int) -> None:
    """Serve until the other side closes."""
    channel = Channel(0, writing)
    network: Native | None = None
    while True:
        try:
            header, values = channel.receive()
        except FrameError:
            return
        try:
            if network is None:
                network = Native(
                    Path(header["library"]), Face.from_json(header["face"]), np.fromfile(header["weights"], np.uint8)
                )
                channel.send({})
            else:
                channel.send(*_answer(network, header, values))
        except MLCoreError as error:
            channel.send({"error": error.message, "hint": error.hint, "code": error.code, "class": type(error).__name__})
        except MemoryError:
            message = "there is not enough memory for what the network gives"
            channel.send({"error": message, "hint": "", "code": "network.memory", "class": "RunError"})


def _answer(network: Native, header: dict[str, Any], values: list[Any]) -> tuple[dict[str, Any], list[Any]]:
    match header["do"]:
        case "call":
            return {}, network(values)
        case "time":
            return {"seconds": network.seconds_per_call(values, seconds=header["seconds"])}, []
        case "profile":
            return {}, [network.profile(values, seconds=header["seconds"])]
        case unknown:
            raise ValueError(f"there is nothing called {unknown!r} to do")


if __name__ == "__main__":
    main(int(sys.argv[1]))
