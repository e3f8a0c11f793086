"""Model files damaged under the guidance of coverage, by atheris, which is no dependency of the project: install it beside.

    python -m tests.fuzz.forests FORMAT [FOLDER] [options of libFuzzer, such as -max_total_time=60]

The folder keeps what reached new code, and begins with the format's samples. An input that makes anything happen but a verified
model or an `InputError` with a hint is written to a file called ``crash-...``.

What a check sum would catch is put in behind it: inputs of skops are the description inside of the archive, those of the saved
format get their sums made right.
"""

from __future__ import annotations

import io
import random
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["mlcore.forests"]):
    from mlcore.forests.frontends import frontends
    from mlcore.forests.verifier import verify

    frontends()  # imports them all

from mlcore.errors import InputError
from tests.mlcore.forests.mutations import KINDS, damaged, damaged_inside
from tests.mlcore.forests.samples import samples

_SCHEMA = "schema.json"


def main(format_name: str, options: list[str]) -> None:
    warnings.simplefilter("error")
    frontend = frontends()[format_name]
    arrays = _arrays(samples("skops")[0]) if format_name == "skops" else {}

    def one_input(data: bytes) -> None:
        if format_name == "skops":
            data = _archive({**arrays, _SCHEMA: data})
        elif format_name == "ml4ep-forest":
            data = damaged_inside(format_name, data, [])
        try:
            verify(frontend.read(data, iterations="auto"))
        except InputError as error:
            if not (error.message.strip() and error.hint.strip()):
                raise RuntimeError("an error without a message or a hint") from error

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        """Half of the time the edits that know numbers and words, else libFuzzer's own."""
        draw = random.Random(seed)
        if not data or draw.random() < 0.5:
            return bytes(atheris.Mutate(data, max_size))
        edits = [(draw.choice(list(KINDS)), draw.random(), draw.randrange(2**16)) for _ in range(draw.randint(1, 3))]
        return damaged(data, edits)[:max_size]

    folders = [option for option in options if not option.startswith("-")] or [tempfile.mkdtemp()]
    for number, data in enumerate(samples(format_name)):
        verify(frontend.read(data, iterations="auto"))  # also imports what is imported only when needed
        seed = _arrays(data)[_SCHEMA] if format_name == "skops" else data
        (Path(folders[0]) / f"sample-{number}").write_bytes(seed)
    atheris.Setup(
        [sys.argv[0], *folders, *(option for option in options if option.startswith("-"))], one_input, custom_mutator=mutate
    )
    atheris.Fuzz()


def _arrays(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _archive(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
