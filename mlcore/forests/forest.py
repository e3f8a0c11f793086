"""A loaded forest and its predictions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from mlcore import filetypes
from mlcore.errors import InputError
from mlcore.forests import frontends, inputs, predictor
from mlcore.forests.frontends import Iterations
from mlcore.forests.frontends import saved as saved_format
from mlcore.forests.ir import TreeModel
from mlcore.forests.verifier import verify

Rows = npt.NDArray[Any]


@dataclass(frozen=True)
class ForestInfo:
    """What a forest is, in numbers and names."""

    format: str
    library: str
    library_version: str
    objective: str
    booster: str
    link: str
    n_features: int
    n_outputs: int
    n_trees: int
    n_nodes: int
    n_leaves: int
    depth: int
    n_thresholds: int
    feature_names: tuple[str, ...]
    classes: tuple[str, ...]
    best_iteration: int | None


class Forest:
    """A forest of decision trees that predicts as its library does. Any number of threads may use it at once.

    Parameters
    ----------
    model
        The tree IR; it is verified here.
    """

    def __init__(self, model: TreeModel) -> None:
        self._model = verify(model)

    @property
    def model(self) -> TreeModel:
        """The tree IR, verified."""
        return self._model

    @cached_property
    def _native(self) -> predictor.Predictor:
        return predictor.build(self.model)

    @property
    def engine(self) -> str:
        """Which engines of the kernels run this forest on this machine, and why; a line each."""
        return "\n".join(f"{use}: {engine}" for use, engine in self._native.engines().items())

    @cached_property
    def info(self) -> ForestInfo:
        """Source, shape and size."""
        model, source = self.model, self.model.source
        return ForestInfo(
            format=source.format,
            library=source.library,
            library_version=source.version,
            objective=source.objective,
            booster=source.booster,
            link=str(model.link),
            n_features=model.n_features,
            n_outputs=model.n_outputs,
            n_trees=len(model.trees),
            n_nodes=model.n_nodes,
            n_leaves=model.n_leaves,
            depth=model.depth,
            n_thresholds=sum(map(len, model.thresholds().values())),
            feature_names=model.feature_names,
            classes=model.classes,
            best_iteration=model.best_iteration,
        )

    # In the three calls below an array that fits goes straight to the kernel, which looks at it itself; whatever else comes is
    # turned into such an array first, or refused with a reason.

    def margin(self, x: Any, *, out: Rows | None = None, threads: int = 1) -> Rows:
        """The sums before the link.

        Parameters
        ----------
        x
            Shape (n_rows, n_features), float32 or float64: a NumPy array with any strides, a torch tensor on the CPU, a
            data frame with the columns of the training, or an awkward or structured array; see `mlcore.forests.inputs`.
        out
            Where to put the result: C-contiguous, of the result's shape and type.
        threads
            How many threads share the rows.

        Returns
        -------
        ndarray
            float32 (XGBoost) or float64 (LightGBM), shape (n_rows,) for one output, else (n_rows, n_outputs).

        Raises
        ------
        InputError
            The rows do not fit the forest, or `out` does not fit the result.
        """
        if type(x) is np.ndarray:
            try:
                return self._native.margin(x, out, threads)
            except (TypeError, ValueError):
                pass
        rows = self._rows(x, threads)
        return self._native.margin(rows, self._checked(out, rows, self._model.n_outputs), threads)

    def predict(self, x: Any, *, out: Rows | None = None, threads: int = 1) -> Rows:
        """The library's own prediction: probabilities, expected counts, or the margins where the link is the identity.

        Parameters and return as of `margin`, with as many columns as a prediction has; classes come as one number a row
        where the objective says so.
        """
        if type(x) is np.ndarray:
            try:
                return self._native.predict(x, out, threads)
            except (TypeError, ValueError):
                pass
        rows = self._rows(x, threads)
        return self._native.predict(rows, self._checked(out, rows, self._model.n_predictions), threads)

    def leaves(self, x: Any, *, threads: int = 1) -> npt.NDArray[np.int32]:
        """The leaf that each row reaches in each tree, as a node number of the tree: int32, shape (n_rows, n_trees)."""
        return self._native.leaves(self._rows(x, threads), threads)

    def to_cpp(self, directory: str | Path, *, name: str = "forest") -> Path:
        """Write the forest as a standalone C++17 header.

        Unlike `mlcore.forests.convert` this compiles nothing and compares nothing.

        Parameters
        ----------
        directory
            Where to put it; made if it is not there.
        name
            Of the header and its namespace: a C++ identifier.

        Returns
        -------
        Path
            The header, ``directory/name.hpp``.

        Raises
        ------
        InputError
            The name is no C++ identifier, or the directory cannot be written to.
        UnsupportedFeatureError
            The forest cannot be written as C++.
        """
        from mlcore.forests.emit import cpp

        options = cpp.CppOptions(name)
        cpp.check_size(self.model)
        path = Path(directory) / f"{name}.hpp"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(cpp.header(self.model, options), encoding="utf-8")
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror}", hint="Choose another directory.") from None
        return path

    def save(self, path: str | Path) -> Path:
        """Save the forest in the project's own format, which `load` maps into memory in a few milliseconds.

        Parameters
        ----------
        path
            A file, by custom ``NAME.forest``; one that is there is replaced, at once or not at all.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        InputError
            The path is a directory, or cannot be written to.
        """
        from mlcore.forests import saved

        return saved.write(self, Path(path))

    def plan(self) -> bytes:
        """What the kernels made of the forest, to be kept in a file; empty where the engine in use keeps nothing."""
        return self._native.plan()

    def _rows(self, x: Any, threads: int) -> Rows:
        if type(threads) is not int or threads < 1:
            raise InputError(f"threads is {threads!r}", hint="Give a whole number from 1.", code="forest.threads")
        return inputs.rows(x, self._model.n_features, self._model.feature_names)

    def _checked(self, out: Rows | None, rows: Rows, n_columns: int) -> Rows | None:
        """Refuse an array that the result does not fit into."""
        if out is None:
            return None
        shape = (len(rows),) if n_columns == 1 else (len(rows), n_columns)
        dtype = self._model.sum_dtype
        if not isinstance(out, np.ndarray):
            raise InputError(f"out is a {type(out).__qualname__}", hint="Pass a NumPy array.", code="forest.out")
        if out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous or not out.flags.writeable:
            kind = "" if out.flags.writeable else "read-only "
            message = f"out is {kind}{out.dtype} of the shape {out.shape}, the result {dtype} of the shape {shape}"
            raise InputError(message, hint="Pass a C-contiguous array like the result.", code="forest.out")
        return out


def load(model: str | Path | object, *, iterations: Iterations = "auto") -> Forest:
    """Load a forest from a file or from a library's model in this process.

    Parameters
    ----------
    model
        A path, or a model of XGBoost (a booster or a scikit-learn style model), of LightGBM, or of any other library
        that `mlcore.forests.frontends.converters` knows. Of a file with several models, such as a ROOT file, a colon and
        a name behind the path choose one: ``"models.root:myBDT"``.
    iterations
        Which boosting rounds count after early stopping: ``"all"``, ``"best"`` (up to the best one), or ``"auto"``:
        what the library's own ``predict`` would take, which for XGBoost is ``"best"`` where the scikit-learn style
        class saved the model and ``"all"`` otherwise. LightGBM files hold the chosen rounds only.

    Returns
    -------
    Forest
        Verified and ready to predict.

    Raises
    ------
    InputError
        The file is of no known format, or damaged: the message names the place.
    UnsupportedFeatureError
        The model uses something that is not supported, named in the message.
    """
    if isinstance(model, str | Path):
        return _load_file(Path(model), iterations)
    return Forest(frontends.convert(model, iterations=iterations))


def _load_file(path: Path, iterations: Iterations) -> Forest:
    path, key = _parted(path)
    try:
        with path.open("rb") as stream:
            head = stream.read(frontends.HEAD_BYTES)
        kind = filetypes.refuse(path).kind  # pickles and their like, each with the way out
        frontend = frontends.of_file(kind, head)
        if frontend is frontends.frontends()[saved_format.FORMAT] and key is None:
            return _open_saved(path, iterations)
        data = _mapped(path) if getattr(frontend, "MAPPED", False) else path.read_bytes()
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror}", hint="Check the path.") from None
    if frontend is None:
        raise InputError(
            f"{path.name} is no forest in a known format ({', '.join(sorted(frontends.frontends()))})",
            hint='Save XGBoost models by save_model("model.json") or ("model.ubj"), LightGBM ones by save_model("model.txt").',
            code="forest.unknown",
        )
    if key is None:
        return Forest(frontend.read(data, iterations=iterations))
    if not isinstance(frontend, frontends.KeyedFrontend):
        message = f"{path.name} holds one model, so there is none to choose by the name {key[:80]!r}"
        raise InputError(message, hint="Give the path alone.", code="forest.key")
    return Forest(frontend.read_key(data, key, iterations=iterations))


def _mapped(path: Path) -> bytes:
    """The file mapped into memory; but for methods of texts it is used as bytes are."""
    with path.open("rb") as stream:
        return cast("bytes", mmap(stream.fileno(), 0, access=ACCESS_READ))


def _open_saved(path: Path, iterations: Iterations) -> Forest:
    from mlcore.forests import saved

    forest = saved.open_forest(path)
    saved_format.check_rounds(forest.header, iterations)
    return forest


def _parted(path: Path) -> tuple[Path, str | None]:
    """A path, and the name of a model behind a colon, unless the file itself is called that."""
    if not path.is_file():
        parts = str(path).split(":")
        for count in range(1, len(parts)):
            file = Path(":".join(parts[:count]))
            if file.is_file():
                return file, ":".join(parts[count:])
    return path, None
