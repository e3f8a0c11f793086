"""ONNX's own backend tests, run against the generated code: which pass, and why the others do not.

Models are translated one by one and compiled many in one file, so that all of them take minutes. Each file's library runs in a
child process: a crash costs its tests and no more. ``python -m mlcore.networks.conformance --help`` tells how to run a part.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import math
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlcore.errors import MLCoreError
from mlcore.networks.build import QUICK, BuildOptions, Function, build
from mlcore.networks.compiler import translate
from mlcore.networks.emit.cpp import Emitted
from mlcore.networks.onnx_backend import missing_shapes, prepared

LIGHT = "onnx/backend/test/data/light/"
KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator", "real")
GROUP = 40


@dataclass(frozen=True)
class Case:
    """One of ONNX's tests: a model, and inputs with the outputs they give."""

    name: str
    kind: str
    model: Any
    data: tuple[tuple[list[Any], list[Any]], ...]
    rtol: float
    atol: float


@dataclass(frozen=True)
class Outcome:
    """How a test ended: the stage that it failed in, "" where it passed, and the reason."""

    name: str
    kind: str
    stage: str
    reason: str

    @property
    def passed(self) -> bool:
        return not self.stage


def cases(kinds: Sequence[str] = KINDS, match: str = "") -> Iterator[Case]:
    """The tests of the installed onnx whose names match an expression."""
    from onnx.backend.test.loader import load_model_tests

    for kind in kinds:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tests = load_model_tests(kind=kind)
        for test in tests:
            if re.search(match, test.name):
                loaded = _loaded(test, kind)
                if loaded is not None:
                    yield loaded


def _loaded(test: Any, kind: str) -> Case | None:
    import onnx

    if test.model is not None and test.data_sets is not None:
        data = tuple(([_array(item) for item in given], [_array(item) for item in wanted]) for given, wanted in test.data_sets)
        return Case(test.name, kind, test.model, data, test.rtol, test.atol)
    if (test.url or "").startswith(LIGHT):
        return _light(test, kind)
    folder = Path(test.model_dir) if test.model_dir else None
    if folder is None or not (folder / "model.onnx").is_file():
        return None
    model = onnx.load(folder / "model.onnx")
    sets = []
    for place in sorted(folder.glob("test_data_set*")):
        inputs = _files(place, "input", [item.type for item in model.graph.input])
        outputs = _files(place, "output", [item.type for item in model.graph.output])
        sets.append((inputs, outputs))
    return Case(test.name, kind, model, tuple(sets), test.rtol, test.atol)


def _light(test: Any, kind: str) -> Case:
    """A model whose weights are made by nodes; its inputs go evenly from 0 to 1, as ONNX's own runner has them."""
    import onnx
    from onnx import numpy_helper

    path = Path(onnx.__file__).parents[1] / test.url
    model = onnx.load(path)
    weights = {item.name for item in model.graph.initializer}
    inputs = []
    for value in model.graph.input:
        if value.name not in weights:
            shape = [size.dim_value or 1 for size in value.type.tensor_type.shape.dim]
            inputs.append((np.arange(math.prod(shape)).reshape(shape) / math.prod(shape)).astype(np.float32))
    outputs = [
        numpy_helper.to_array(onnx.load_tensor(path.with_name(f"{path.stem}_output_{i}.pb")))
        for i in range(len(model.graph.output))
    ]
    return Case(test.name, kind, model, ((inputs, outputs),), test.rtol, test.atol)


def _array(item: Any) -> Any:
    """Some tests hold their data as protobuf."""
    import onnx
    from onnx import numpy_helper

    return numpy_helper.to_array(item) if isinstance(item, onnx.TensorProto) else item


def _files(folder: Path, prefix: str, types: Sequence[Any]) -> list[Any]:
    import onnx
    from onnx import numpy_helper

    found = []
    for i in range(len(list(folder.glob(f"{prefix}_*.pb")))):
        data, kind = (folder / f"{prefix}_{i}.pb").read_bytes(), types[i].WhichOneof("value")
        if kind == "sequence_type":
            found.append(numpy_helper.to_list(onnx.SequenceProto.FromString(data)))
        elif kind == "optional_type":
            found.append(numpy_helper.to_optional(onnx.OptionalProto.FromString(data)))
        else:
            found.append(numpy_helper.to_array(onnx.TensorProto.FromString(data)))
    return found


def run(
    kinds: Sequence[str] = KINDS,
    match: str = "",
    *,
    options: BuildOptions | None = None,
    jobs: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Outcome]:
    """Run tests.

    Parameters
    ----------
    kinds, match
        Which: kinds of tests, and an expression that their names have to match.
    options
        How the code is compiled.
    jobs
        Compilers at the same time.
    progress
        Told how many of how many are done.
    """
    options = options or BuildOptions(flags=QUICK)
    outcomes: list[Outcome] = []
    ready: list[tuple[Case, Emitted]] = []
    for number, case in enumerate(cases(kinds, match)):
        try:
            inputs = case.data[0][0] if case.data else []
            ready.append((case, translate(case.model, f"case_{number}", shapes=missing_shapes(case.model, inputs))))
        except MLCoreError as error:
            outcomes.append(Outcome(case.name, case.kind, "translate", f"{type(error).__name__}: {error.message}"))
        except Exception as error:
            outcomes.append(Outcome(case.name, case.kind, "translate", f"defect: {type(error).__name__}: {error}"))
    total = len(outcomes) + len(ready)
    groups = [ready[start : start + GROUP] for start in range(0, len(ready), GROUP)]
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for found in pool.map(lambda group: _run_group(group, options), groups):
            outcomes += found
            progress(len(outcomes), total)
    return sorted(outcomes, key=lambda item: (KINDS.index(item.kind), item.name))


def _run_group(group: Sequence[tuple[Case, Emitted]], options: BuildOptions) -> list[Outcome]:
    try:
        library, _ = build([emitted for _, emitted in group], options)
    except MLCoreError as error:
        if len(group) > 1:
            half = len(group) // 2
            return _run_group(group[:half], options) + _run_group(group[half:], options)
        lines = [line for line in error.message.splitlines() if "error" in line] or error.message.splitlines()
        return [Outcome(group[0][0].name, group[0][0].kind, "compile", lines[0][:400])]
    return _in_child(group, library)


def _in_child(group: Sequence[tuple[Case, Emitted]], library: Path) -> list[Outcome]:
    """Run the tests of a library in a child; when it dies, the test it died in has failed, and the rest go on in another."""
    import pickle

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "work.pickle"
        outcomes: list[Outcome] = []
        rest = list(group)
        while rest:
            work.write_bytes(pickle.dumps([(case.name, case.data, case.rtol, case.atol, emitted) for case, emitted in rest]))
            done = subprocess.run(
                [sys.executable, "-m", "mlcore.networks.conformance", "--child", work, library],
                capture_output=True, text=True, check=False, timeout=600,
            )  # fmt: skip
            reported = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
            for item, (case, _) in zip(reported, rest, strict=False):
                outcomes.append(Outcome(case.name, case.kind, item["stage"], item["reason"]))
            rest = rest[len(reported) :]
            if rest:
                case = rest.pop(0)[0]
                last = done.stderr.strip().splitlines()[-1:] or [""]
                outcomes.append(
                    Outcome(case.name, case.kind, "run", f"the child died with status {done.returncode} {last[0][:200]}")
                )
        return outcomes


def _child(work: Path, library: Path) -> None:
    """Run what the parent wrote, a line of JSON for each test."""
    import pickle

    for name, data, rtol, atol, emitted in pickle.loads(work.read_bytes()):  # noqa: S301 - written by the parent process
        stage, reason = "", ""
        try:
            function = Function(library, emitted)
            for inputs, expected in data:
                given = [prepared(item, port) for item, port in zip(inputs, emitted.inputs, strict=True)]
                stage = "run"
                found = function(given)
                stage = "compare"
                compare(found, expected, rtol, atol)
            stage = ""
        except (MLCoreError, AssertionError, ValueError, TypeError) as error:
            stage, reason = stage or "run", " ".join(str(error).split())[:400]
        print(json.dumps({"name": name, "stage": stage, "reason": reason}), flush=True)


def compare(found: Sequence[Any], expected: Sequence[Any], rtol: float, atol: float) -> None:
    """Hold outputs against those that are expected, as ONNX's own runner does: types, shapes, values within the tolerance.

    Raises
    ------
    AssertionError
        They differ.
    """
    if len(found) != len(expected):
        raise AssertionError(f"{len(found)} outputs instead of {len(expected)}")
    for mine, wanted in zip(found, expected, strict=True):
        if isinstance(wanted, list | tuple):
            compare(mine, wanted, rtol, atol)
            continue
        if wanted is None or mine is None:
            if wanted is not mine:
                raise AssertionError(f"{mine!r} instead of {wanted!r}")
            continue
        wanted = np.asarray(wanted)
        if wanted.dtype.kind in "OUS":
            np.testing.assert_array_equal(np.asarray(mine, object), np.asarray(wanted, object))
            continue
        if mine.dtype != wanted.dtype:
            raise AssertionError(f"{mine.dtype} instead of {wanted.dtype}")
        if mine.shape != wanted.shape:
            raise AssertionError(f"the shape {mine.shape} instead of {wanted.shape}")
        if wanted.dtype.kind not in "fiub":
            mine, wanted = mine.astype(np.float32), wanted.astype(np.float32)
        np.testing.assert_allclose(mine, wanted, rtol=rtol, atol=atol)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kind", action="append", choices=KINDS, help="only tests of this kind; may be repeated")
    parser.add_argument("--match", default="", help="only tests whose names match this regular expression")
    parser.add_argument("--jobs", type=int, default=1, help="compilers at the same time")
    parser.add_argument("--json", type=Path, help="write the outcomes there")
    parser.add_argument("--quiet", action="store_true", help="the counts alone")
    parser.add_argument("--child", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _child(*arguments.child)
        return
    outcomes = run(arguments.kind or KINDS, arguments.match, jobs=arguments.jobs, progress=_print_progress)
    if not arguments.quiet:
        for outcome in outcomes:
            if not outcome.passed:
                print(f"{outcome.name}: {outcome.stage}: {outcome.reason}")
    for kind in KINDS:
        mine = [outcome for outcome in outcomes if outcome.kind == kind]
        if mine:
            print(f"{kind}: {sum(outcome.passed for outcome in mine)} of {len(mine)} pass")
    print(f"all: {sum(outcome.passed for outcome in outcomes)} of {len(outcomes)} pass")
    if arguments.json:
        arguments.json.write_text(json.dumps([outcome.__dict__ for outcome in outcomes], indent=1) + "\n", encoding="utf-8")


def _print_progress(done: int, total: int) -> None:
    print(f"\r{done} of {total}", end="" if done < total else "\n", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
