"""A loaded forest and its predictions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import kernels
from mlcore import filetypes
from mlcore.errors import InputError
from mlcore.forests import frontends, links
from mlcore.forests.frontends import Iterations
from mlcore.forests.ir import TreeModel
from mlcore.forests.verifier import verify


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
    best_iteration: int | None


class Forest:
    """A forest of decision trees that predicts as its library does.

    Parameters
    ----------
    model
        The tree IR; it is verified here.
    """

    def __init__(self, model: TreeModel) -> None:
        self.model = verify(model)

    @cached_property
    def _kernel(self) -> kernels.ScalarForest:
        return kernels.scalar_forest(self.model.tables())

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
            best_iteration=model.best_iteration,
        )

    def margin(self, x: npt.ArrayLike, *, threads: int = 1) -> npt.NDArray[Any]:
        """The sums before the link.

        Parameters
        ----------
        x
            float32 or float64, shape (n_rows, n_features), any strides; other numbers are converted to float64.
        threads
            How many threads share the rows.

        Returns
        -------
        ndarray
            float32 (XGBoost) or float64 (LightGBM), shape (n_rows,) for one output, else (n_rows, n_outputs).
        """
        return _squeezed(self._margin(x, threads))

    def predict(self, x: npt.ArrayLike, *, threads: int = 1) -> npt.NDArray[Any]:
        """The library's own prediction: probabilities, expected counts, or the margins where the link is the identity.

        Parameters and return as of `margin`; classes come as one number a row where the objective says so.
        """
        model, margin = self.model, self._margin(x, threads)
        if model.divisor != 1:
            margin = margin / margin.dtype.type(model.divisor)
        return _squeezed(links.apply(model.link, margin, model.link_scale))

    def leaves(self, x: npt.ArrayLike, *, threads: int = 1) -> npt.NDArray[np.int32]:
        """The leaf that each row reaches in each tree, as a node number of the tree: int32, shape (n_rows, n_trees)."""
        return self._kernel.leaves(self._rows(x), threads=threads)

    def _margin(self, x: npt.ArrayLike, threads: int) -> npt.NDArray[Any]:
        return self._kernel.margin(self._rows(x), threads=threads)

    def _rows(self, x: npt.ArrayLike) -> npt.NDArray[Any]:
        rows = np.asarray(x)
        if rows.dtype not in (np.float32, np.float64):
            if rows.dtype.kind not in "biuf":
                raise InputError(f"X holds {rows.dtype}, not numbers", hint="Pass float32 or float64.")
            rows = rows.astype(np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.model.n_features:
            raise InputError(
                f"X has the shape {rows.shape}, the forest needs (n_rows, {self.model.n_features})",
                hint="Pass one row an event and one column a feature, in the order of the training.",
            )
        return rows


def _squeezed(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values[:, 0] if values.shape[1] == 1 else values


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
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror}", hint="Check the path.") from None
    kind = filetypes.refuse(path).kind  # pickles and their like, each with the way out
    frontend = frontends.of_file(kind, data[: frontends.HEAD_BYTES])
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


def _parted(path: Path) -> tuple[Path, str | None]:
    """A path, and the name of a model behind a colon, unless the file itself is called that."""
    if not path.is_file():
        parts = str(path).split(":")
        for count in range(1, len(parts)):
            file = Path(":".join(parts[:count]))
            if file.is_file():
                return file, ":".join(parts[count:])
    return path, None
