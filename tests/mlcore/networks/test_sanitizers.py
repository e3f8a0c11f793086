"""Generated code under the compiler's sanitizers: as a program, from two threads, with reads behind inputs made visible."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlcore.networks.build import INCLUDE, translation_unit
from mlcore.networks.compiler import translate
from mlcore.networks.conformance import compare
from mlcore.networks.emit.cpp import Emitted
from mlcore.networks.ir import DType
from mlcore.networks.oracle import oracle
from mlcore.toolchain.compiler import find_compiler
from tests.mlcore.networks.sanitized_cases import Case, cases

RUNTIME = INCLUDE / "kernels" / "nn"
DRIVER = Path(__file__).with_name("sanitized.cpp")
QUIET = {"ASAN_OPTIONS": "detect_leaks=1", "UBSAN_OPTIONS": "print_stacktrace=1", "TSAN_OPTIONS": "halt_on_error=1"}


def program(folder: Path, emitted: Sequence[Emitted], flags: Sequence[str]) -> Path:
    """Networks and driver in one file, compiled."""
    rows = [f"{{{item.name}_open, {item.name}_close, {item.name}_call, {len(item.outputs)}}}" for item in emitted]
    main = "int main(int, char** arguments) {\n  return go({\n    " + ",\n    ".join(rows) + "}, arguments);\n}\n"
    source = folder / "program.cpp"
    source.write_text(f"{translation_unit(emitted)}\n{DRIVER.read_text()}\n{main}")
    command = ["-std=c++17", "-O1", "-w", "-pthread", *flags, f"-I{INCLUDE}", str(source), "-o", str(folder / "program")]
    done = subprocess.run([str(find_compiler().path), *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder / "program"


def packed(emitted: Sequence[Emitted], chosen: Sequence[Case]) -> bytes:
    """What the driver reads: for each network its weights, and the inputs of each call."""
    out = bytearray()
    for item, each in zip(emitted, chosen, strict=True):
        calls = (*each.calls, *each.refused)
        out += struct.pack("<q", len(item.weights)) + item.weights + struct.pack("<q", len(calls))
        for call in calls:
            out += struct.pack("<q", len(item.inputs))
            for port in item.inputs:
                array = np.ascontiguousarray(call[port.name]).reshape(call[port.name].shape)
                out += struct.pack("<iq", DType.of(array).number, array.ndim) + struct.pack(f"<{array.ndim}q", *array.shape)
                out += struct.pack("<q", array.nbytes) + array.tobytes()
    return bytes(out)


def unpacked(data: BytesIO, n_outputs: int) -> list[Any] | None:
    """The outputs of a call; None where it failed."""
    (status,) = struct.unpack("<q", data.read(8))
    if status != 0:
        return None
    found = []
    for _ in range(n_outputs):
        number, rank = struct.unpack("<qq", data.read(16))
        *shape, size = struct.unpack(f"<{rank + 1}q", data.read(8 * (rank + 1)))
        dtype = DType.of_number(number)
        assert dtype is not None
        found.append(np.frombuffer(data.read(size), dtype.numpy).reshape(shape))
    return found


def hold(folder: Path, flags: Sequence[str]) -> None:
    """Compile all cases with these flags, run them, and look at reports and results."""
    chosen = cases()
    emitted = [translate(each.model, f"case_{name}") for name, each in chosen.items()]
    built = program(folder, emitted, flags)
    (folder / "calls").write_bytes(packed(emitted, list(chosen.values())))
    done = subprocess.run(
        [built, "calls", "outputs"], cwd=folder, env=os.environ | QUIET, capture_output=True, text=True, check=False, timeout=250
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[:6000]
    assert done.stderr == ""
    data = BytesIO((folder / "outputs").read_bytes())
    for (name, each), item in zip(chosen.items(), emitted, strict=True):
        wanted = oracle(each.model)
        for number, call in enumerate(each.calls):
            found = unpacked(data, len(item.outputs))
            assert found is not None, f"call {number} of {name} failed"
            try:
                compare(found, wanted.run(call), each.rtol, each.atol)
            except AssertionError as error:
                raise AssertionError(f"call {number} of {name}: {error}") from None
        for number, _ in enumerate(each.refused):
            assert unpacked(data, len(item.outputs)) is None, f"call {number} of {name} that should have been refused was not"
    assert data.read() == b""


def test_all_parts_of_the_runtime_stand_in_one_file(tmp_path: Path) -> None:
    """A network may need any of them together."""
    (tmp_path / "all.cpp").write_text("".join(f'#include "kernels/nn/{path.name}"\n' for path in RUNTIME.glob("*.hpp")))
    command = [find_compiler().path, "-std=c++17", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", f"-I{INCLUDE}", "all.cpp"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:4000]


ADDRESS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.mark.parametrize("target", ["-march=native", pytest.param("", marks=pytest.mark.slow)])
def test_no_read_or_write_outside_and_nothing_undefined(tmp_path: Path, target: str) -> None:
    hold(tmp_path, [*ADDRESS, *target.split()])


def test_threads_share_nothing_but_what_is_constant(tmp_path: Path) -> None:
    hold(tmp_path, ["-fsanitize=thread", "-march=native"])


def test_calls_allocate_nothing_once_the_workspace_has_met_their_sizes(tmp_path: Path) -> None:
    """But for texts and sequences, which hold as many things as the call says."""
    chosen = cases()
    emitted = [translate(each.model, f"case_{name}") for name, each in chosen.items()]
    built = program(tmp_path, emitted, ["-DCOUNTING", "-Wl,--wrap=aligned_alloc"])
    (tmp_path / "calls").write_bytes(packed(emitted, list(chosen.values())))
    done = subprocess.run([built, "calls", "outputs"], cwd=tmp_path, capture_output=True, text=True, check=True)
    counts: dict[str, list[int]] = {name: [] for name in chosen}
    for line in done.stdout.splitlines():
        number, status, count = map(int, line.split())
        if status == 0:
            counts[list(chosen)[number]].append(count)
    assert [len(each) for each in counts.values()] == [len(each.calls) for each in chosen.values()]
    assert sum(counts.pop("sequences")) > 0
    assert sum(counts.pop("texts")) > 0
    assert {name: sum(each) for name, each in counts.items()} == dict.fromkeys(counts, 0)
