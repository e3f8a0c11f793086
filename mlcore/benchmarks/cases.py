"""A case: a model at a batch size, as files that every engine starts from, with inputs and the answers that are right.

Cases are made in a process of their own (``python -m mlcore.benchmarks.cases SUBJECT CASES``), so that whoever measures them
imports neither PyTorch nor a library of forests.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np

import mlcore
from mlcore.benchmarks.arrays import Array, load_arrays, save_arrays
from mlcore.errors import InputError, MLCoreError

Kind = Literal["network", "forest"]

ROOT = Path(mlcore.__file__).parents[1]
NETWORK_TOLERANCE = 1e-4
"""Of the largest value of an output: engines compute in float32, in orders of their own and with their own exponentials; the
deepest of the zoo's networks are off by 1e-5 between any two of them."""
FOREST_TOLERANCE = 5e-5
"""Of 1 + the largest value: sums of float32 in orders of their own. One wrong leaf is nearly always more."""
OTHER_SIZE = 16
"""What a free size of a user's network is set to, where nothing else is asked for; the batch apart."""
MAKING_SECONDS = 1800


@dataclass(frozen=True)
class Subject:
    """A model that is to be measured.

    Attributes
    ----------
    name
        Short and of one run alone: of letters, digits, ``_``, ``-`` and ``.``.
    source
        ``zoo`` for a network of `mlcore.benchmarks.zoo`, ``boosted`` for a forest of `mlcore.benchmarks.boosted`, both by their
        names; ``onnx`` or ``forest`` for a file.
    path
        Of the file.
    title
        For people.
    sizes
        Of an ONNX file: numbers for its free sizes, by name.
    """

    name: str
    source: Literal["zoo", "boosted", "onnx", "forest"]
    path: str = ""
    title: str = ""
    sizes: Mapping[str, int] = field(default_factory=dict, hash=False)

    @property
    def kind(self) -> Kind:
        return "network" if self.source in ("zoo", "onnx") else "forest"

    @cached_property
    def digest(self) -> str:
        """Of what cases are made of: another file, another source of the zoo or another library makes other cases."""
        digest = hashlib.sha256(json.dumps(dict(self.sizes), sort_keys=True).encode())
        sources = [Path(self.path)] if self.path else sorted(Path(__file__).parent.glob("zoo/*.py"))
        for path in (*sources, Path(__file__).with_name("boosted.py"), Path(__file__)):
            digest.update(path.read_bytes())
        for package in ("torch", "onnx", "onnxruntime", "xgboost-cpu", "xgboost", "numpy"):
            with suppress(metadata.PackageNotFoundError):
                digest.update(f"{package} {metadata.version(package)}".encode())
        return digest.hexdigest()[:10]

    def folder(self, cases: Path, batch: int) -> Path:
        """Where the case of a batch size lies."""
        return cases / f"{self.name}-{batch}-{self.digest}"


@dataclass(frozen=True)
class Case:
    """A model at a batch size.

    Attributes
    ----------
    folder
        Holds ``case.json``, ``inputs.npz``, ``expected.npz``, and ``model.onnx`` or the forest's file.
    model, title, kind, paper
        What it is.
    batch
        Events of one inference.
    weights
        Bytes of all parameters; of a forest, of its file.
    reference
        What gave the answers.
    file
        Name of the model's file.
    zoo
        The network's name in the zoo, where it is one.
    """

    folder: Path
    model: str
    title: str
    kind: Kind
    paper: str
    batch: int
    weights: int
    reference: str
    file: str
    zoo: str = ""

    @property
    def path(self) -> Path:
        return self.folder / self.file

    @cached_property
    def inputs(self) -> dict[str, Array]:
        return load_arrays(self.folder / "inputs.npz")

    @cached_property
    def expected(self) -> dict[str, Array]:
        return load_arrays(self.folder / "expected.npz")

    def read(self) -> None:
        """Read inputs and answers now; else they are read when they are first asked for."""
        _ = self.inputs, self.expected

    def save(self) -> None:
        """Write ``case.json``, which says that all is there."""
        data = {name: value for name, value in asdict(self).items() if name != "folder"}
        (self.folder / "case.json").write_text(json.dumps(data, indent=1), encoding="utf-8")

    @classmethod
    def open(cls, folder: Path) -> Case:
        """A case that was saved."""
        return cls(folder=folder, **json.loads((folder / "case.json").read_text(encoding="utf-8")))

    def differs(self, answers: Mapping[str, Array]) -> str:
        """How answers differ from the expected ones, in words; ``""`` where they do not."""
        for name, expected in self.expected.items():
            if name not in answers:
                return f"the output {name} is missing"
            found = answers[name]
            if found.shape != expected.shape:
                return f"the output {name} has the shape {found.shape}, not {expected.shape}"
            scale = float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0))
            allowed = NETWORK_TOLERANCE * max(scale, 1e-30) if self.kind == "network" else FOREST_TOLERANCE * (1 + scale)
            finite = np.isfinite(expected)
            if not np.array_equal(np.isfinite(found), finite) or not np.array_equal(
                found[~finite], expected[~finite], equal_nan=True
            ):
                return f"the output {name} is not finite where it should be"
            error = float(np.abs(found[finite].astype(np.float64) - expected[finite]).max(initial=0.0))
            if error > allowed:
                return f"the output {name} is off by {error / max(scale, 1e-30):.2g} of its largest value"
        return ""


def child_environment(extra: Sequence[Path] = (), threads: int = 1) -> dict[str, str]:
    """The variables of a child: this project's packages and further folders of packages, and how many threads it may use."""
    free = {name: value for name, value in os.environ.items() if not name.startswith(("OPENBLAS_", "OMP_", "MKL_", "KMP_"))}
    number = str(threads)
    return free | {
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, *extra))),
        "OMP_NUM_THREADS": number,
        "OPENBLAS_NUM_THREADS": number,
        "MKL_NUM_THREADS": number,
    }


def make_cases(subject: Subject, batches: Sequence[int], cases: Path) -> dict[int, Case | str]:
    """The cases of a model, made in a child; those that are there already are taken.

    Parameters
    ----------
    cases
        Folder of all cases.

    Returns
    -------
    dict
        By batch size: the case, or the reason why there is none.
    """
    cases.mkdir(parents=True, exist_ok=True)
    missing = [batch for batch in batches if not (subject.folder(cases, batch) / "case.json").exists()]
    reasons: dict[int, str] = {}
    if missing:
        request = asdict(subject) | {"batches": missing}
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as words:
            command = [sys.executable, "-m", "mlcore.benchmarks.cases", json.dumps(request), str(cases)]
            try:
                done = subprocess.run(
                    command,
                    env=child_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=words,
                    text=True,
                    check=False,
                    timeout=MAKING_SECONDS,
                )
                answer = done.stdout.strip().splitlines()[-1:] if done.returncode == 0 else []
                found = json.loads(answer[0]) if answer else {}
            except subprocess.TimeoutExpired:
                found = {str(batch): f"making its inputs and answers takes more than {MAKING_SECONDS} s" for batch in missing}
            if not found:
                words.seek(0)
                last = " ".join(words.read().strip().splitlines()[-1:])
                found = {str(batch): f"it cannot be prepared: {last[:200]}" for batch in missing}
        reasons = {int(batch): str(reason) for batch, reason in found.items() if reason}
    return {batch: reasons.get(batch) or Case.open(subject.folder(cases, batch)) for batch in batches}


# --- in the child ---------------------------------------------------------------------------------------------------------------


def _make(subject: Subject, batch: int, folder: Path) -> None:
    """Make one case in an empty folder."""
    match subject.source:
        case "zoo":
            _zoo_case(subject, batch, folder)
        case "onnx":
            _onnx_case(subject, batch, folder)
        case _:
            _forest_case(subject, batch, folder)


def _saved(folder: Path, inputs: Mapping[str, Array], expected: Mapping[str, Array], **facts: Any) -> None:
    save_arrays(folder / "inputs.npz", inputs)
    save_arrays(folder / "expected.npz", expected)
    Case(folder=folder, **facts).save()


def _zoo_case(subject: Subject, batch: int, folder: Path) -> None:
    import torch

    from mlcore.benchmarks import zoo

    model = zoo.get(subject.name)
    module = model.module()
    inputs = model.example(batch)
    expected = model.run(module, inputs)
    model.export_onnx(folder / "model.onnx", batch=batch, module=module)
    values = [*module.parameters(), *module.buffers()]
    _saved(
        folder,
        inputs,
        expected,
        model=subject.name,
        title=model.title,
        kind="network",
        paper=model.paper,
        batch=batch,
        weights=sum(value.numel() * value.element_size() for value in values),
        reference=f"PyTorch {torch.__version__}",
        file="model.onnx",
        zoo=subject.name,
    )


def _onnx_case(subject: Subject, batch: int, folder: Path) -> None:
    import onnx

    from mlcore.networks.oracle import oracle

    model = fixed(onnx.load(subject.path), batch, subject.sizes)
    inputs = example_inputs(model)
    onnx.save(model, folder / "model.onnx")
    wanted = oracle(model)
    names = [value.name for value in model.graph.output]
    expected = {name: np.asarray(value) for name, value in zip(names, wanted.run(inputs), strict=True)}
    if any(array.dtype.kind not in "fiub" for array in expected.values()):
        raise InputError("it has an output that is no tensor of numbers")
    _saved(
        folder,
        inputs,
        expected,
        model=subject.name,
        title=subject.title or subject.name,
        kind="network",
        paper="",
        batch=batch,
        weights=sum(initializer.ByteSize() for initializer in model.graph.initializer),
        reference=wanted.name,
        file="model.onnx",
    )


def fixed(model: Any, batch: int, sizes: Mapping[str, int]) -> Any:
    """An ONNX model with numbers for all its free sizes.

    The first free size of the first axis of an input is the batch; other free sizes are those of ``sizes``, else `OTHER_SIZE`.

    Raises
    ------
    InputError
        The file has another, fixed batch.
    """
    constants = {initializer.name for initializer in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    first = [value.type.tensor_type.shape.dim[0] for value in inputs if value.type.tensor_type.shape.dim]
    free = [axis for axis in first if not axis.HasField("dim_value")]
    if not free and not any(axis.dim_value == batch for axis in first):
        raise InputError(f"the file has a fixed batch of {first[0].dim_value if first else 1}")
    name = free[0].dim_param if free else ""
    known = {**sizes, **({name: batch} if name else {})}
    for value in inputs:
        for place, axis in enumerate(value.type.tensor_type.shape.dim):
            if not axis.HasField("dim_value"):
                usual = batch if place == 0 and not axis.dim_param else OTHER_SIZE
                axis.dim_value = known.get(axis.dim_param, usual)
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    from onnx import shape_inference

    return shape_inference.infer_shapes(model)


def example_inputs(model: Any, *, seed: int = 2) -> dict[str, Array]:
    """Random inputs of an ONNX model of fixed shapes: normal numbers, zeros and ones for integers and truths."""
    from onnx import helper

    rng = np.random.default_rng(seed)
    constants = {initializer.name for initializer in model.graph.initializer}
    found: dict[str, Array] = {}
    for value in model.graph.input:
        if value.name in constants:
            continue
        tensor = value.type.tensor_type
        shape = [axis.dim_value for axis in tensor.shape.dim]
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)) if tensor.elem_type else np.dtype(object)
        if dtype.kind not in "fiub":
            raise InputError(f"its input {value.name} is no tensor of numbers")
        made = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
        found[value.name] = np.asarray(made).astype(dtype)
    return found


def _forest_case(subject: Subject, batch: int, folder: Path) -> None:
    from mlcore.forests.benchmark import made_rows
    from mlcore.forests.forest import load
    from mlcore.forests.peers import PEERS, SOURCES, AbsentError, Setting

    path, title, paper = Path(subject.path), subject.title or subject.name, ""
    if subject.source == "boosted":
        from mlcore.benchmarks import boosted

        found = boosted.get(subject.name)
        title, paper = found.title, found.paper
        path = found.trained(folder.parent / "forests")
    copied = folder / f"model{path.suffix}"
    shutil.copyfile(path, copied)
    forest = load(copied)
    rows = made_rows(forest.model, batch, seed=2)
    reference = "ML4EP"
    predict: Callable[[Array], Array] = forest.predict
    source = PEERS.get(SOURCES.get(forest.model.source.library, ""))
    if source is not None:
        with suppress(AbsentError):
            source.load()
            predict = source.start(Setting(copied, forest, 1, folder))
            reference = f"{source.title} {source.version}"
    expected = np.asarray(predict(rows)).reshape(batch, -1)
    _saved(
        folder,
        {"rows": rows},
        {"prediction": expected},
        model=subject.name,
        title=title,
        kind="forest",
        paper=paper,
        batch=batch,
        weights=copied.stat().st_size,
        reference=reference,
        file=copied.name,
    )


def main(request: Mapping[str, Any], cases: Path) -> dict[str, str]:
    """Make cases; returns for each batch the reason why there is none, or ``""``."""
    batches = request["batches"]
    subject = Subject(**{name: value for name, value in request.items() if name != "batches"})
    reasons = {}
    for batch in batches:
        folder = subject.folder(cases, int(batch))
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            _make(subject, int(batch), folder)
            reasons[str(batch)] = ""
        except MLCoreError as error:
            reasons[str(batch)] = " ".join(part for part in (error.message, error.hint) if part)[:300]
        except Exception as error:  # what a foreign model makes of a foreign library is for the matrix to say
            reasons[str(batch)] = f"it cannot be prepared: {(str(error).strip().splitlines() or [type(error).__name__])[0][:200]}"
    return reasons


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]), Path(sys.argv[2]))))
