"""The steps of all features: fitted in one pass, applied, saved, and handed to ONNX and PyTorch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from mlcore.batches.blocks import Block, Jagged
from mlcore.batches.transforms import numpy_backend
from mlcore.batches.transforms.fitting import SAMPLE_SIZE, Statistics
from mlcore.batches.transforms.steps import STEPS, Impute, OneHot, Step, fields_of, named, wrong
from mlcore.errors import DataError

if TYPE_CHECKING:
    import onnx
    import torch

FORMAT = "ml4ep-transforms"
VERSION = 1


class Pipeline:
    """What each feature goes through on its way into a network; never changed once made.

    Parameters
    ----------
    steps
        A step or several for each column, in the order of the features; none for a column that stays as it is.

    Raises
    ------
    InputError
        Code ``batches.transform``: steps that cannot follow each other.

    Examples
    --------
    >>> from mlcore.batches.transforms import OneHot, Standardize
    >>> blocks = [{"pt": np.array([1.0, 3.0]), "charge": np.array([-1, 1])}]
    >>> fitted = Pipeline({"pt": Standardize(), "charge": OneHot()}).fit(blocks)
    >>> fitted.names
    ('pt', 'charge = -1', 'charge = 1')
    >>> fitted.transform(np.array([[3.0, 1.0]]))
    array([[1., 0., 1.]], dtype=float32)
    """

    def __init__(self, steps: Mapping[str, Step | Sequence[Step]]) -> None:
        self.steps = {name: (given,) if isinstance(given, Step) else tuple(given) for name, given in steps.items()}
        if not self.steps:
            raise wrong("a pipeline has a column")
        for name, chain in self.steps.items():
            _check(name, chain)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pipeline) and list(self.steps.items()) == list(other.steps.items())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Pipeline({self.steps!r})"

    @property
    def columns(self) -> tuple[str, ...]:
        """The features that go in, in their order."""
        return tuple(self.steps)

    @property
    def is_fitted(self) -> bool:
        """Whether all steps have their numbers."""
        return all(step.statistic is None for chain in self.steps.values() for step in chain)

    @property
    def names(self) -> tuple[str, ...]:
        """What comes out, column by column: names of features, and ``name = value`` for each category."""
        names: list[str] = []
        self._groups()
        for name, chain in self.steps.items():
            last = chain[-1] if chain else None
            names += [f"{name} = {value:.0f}" for value in last.categories or ()] if isinstance(last, OneHot) else [name]
        return tuple(names)

    def for_columns(self, columns: Sequence[str]) -> Pipeline:
        """The same steps for features in another order; columns it does not know stay as they are.

        Raises
        ------
        DataError
            A column with steps is not among them.
        InputError
            One is there twice.
        """
        if len(set(columns)) < len(columns):
            raise wrong("a column is there twice")
        for name in self.steps:
            if name not in columns:
                raise DataError.missing("column", name, columns, where="the list of columns")
        return Pipeline({name: self.steps.get(name, ()) for name in columns})

    def fit(self, blocks: Iterable[Block], *, weight: str | None = None, sample_size: int = SAMPLE_SIZE) -> Pipeline:
        """Find what the steps need in one pass over the data.

        Parameters
        ----------
        blocks
            With all columns, one value each row.
        weight
            The column with the weights of rows, 0 or more; those of `MinMax` and `OneHot` do not count.
        sample_size
            Rows that quantiles are taken from.

        Returns
        -------
        Pipeline
            A fitted one; steps that had their numbers keep them.

        Raises
        ------
        InputError
            Code ``batches.transform``: a column has several values each row or none to fit to, or a weight is below 0.
        DataError
            A block lacks a column.
        """
        open_steps = {
            (name, at): Statistics(name, step.statistic, sample_size)
            for name, chain in self.steps.items()
            for at, step in enumerate(chain)
            if step.statistic is not None
        }
        if not open_steps:
            return self
        any_rows = False
        for block in blocks:
            weights = None if weight is None else _weights(block, weight)
            for name, chain in self.steps.items():
                if any((name, at) in open_steps for at in range(len(chain))):
                    values = _column(block, name)
                    any_rows |= len(values) > 0
                    self._take_in(name, values, weights, open_steps)
        if not any_rows:
            raise wrong("there are no rows to fit to", "Look at the filter.")
        for found in open_steps.values():
            found.check()
        return Pipeline(
            {
                name: [step.fitted(open_steps[name, at]) if (name, at) in open_steps else step for at, step in enumerate(chain)]
                for name, chain in self.steps.items()
            }
        )

    def _take_in(
        self,
        name: str,
        values: npt.NDArray[np.float64],
        weights: npt.NDArray[np.float64] | None,
        open_steps: Mapping[tuple[str, int], Statistics],
    ) -> None:
        """A block's values of one feature, as each of its open steps sees them.

        NaN stays NaN, for what is imputed was not measured.
        """
        for at, step in enumerate(self.steps[name]):
            if (name, at) in open_steps:
                open_steps[name, at].add(values, weights)
            elif not isinstance(step, Impute):
                (group,) = numpy_backend.grouped([[step]])
                with np.errstate(all="ignore"):
                    values = numpy_backend.compute(group.operations[0], values[:, None])[:, 0]

    def transform(self, matrix: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """The features of some rows.

        Parameters
        ----------
        matrix
            Numbers, shape (n_rows, n_columns), in the order of `columns`.

        Returns
        -------
        ndarray
            float32, shape (n_rows, n_names); computed in double precision.

        Raises
        ------
        InputError
            Code ``batches.transform``: the shape is another, or the pipeline is not fitted.
        """
        array = np.asarray(matrix)
        if array.ndim != 2 or array.shape[1] != len(self.steps):
            raise wrong(f"the matrix has the shape {array.shape}, and the pipeline {len(self.steps)} columns")
        if array.dtype.kind not in "biuf":
            raise wrong(f"the matrix holds {array.dtype}, which are no numbers")
        return numpy_backend.transform(self._groups(), array)

    def to_json(self) -> str:
        """All steps and numbers, each as it is to the last bit."""
        columns = [
            {"name": name, "steps": [{"step": named(step)} | fields_of(step) for step in chain]}
            for name, chain in self.steps.items()
        ]
        return json.dumps({"format": FORMAT, "version": VERSION, "columns": columns}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Pipeline:
        """What `to_json` wrote.

        Raises
        ------
        InputError
            Code ``batches.transform``: it is something else, of a newer version, or damaged.
        """
        try:
            found = json.loads(text, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise wrong(f"the transforms are no JSON: {error}") from None
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise wrong("the text holds no transforms", f'It starts with "format": "{FORMAT}".')
        if found.get("version") != VERSION:
            raise wrong(
                f"the transforms are of version {found.get('version')!r}, and {VERSION} is read here",
                "Take a newer version of the software.",
            )
        columns = found.get("columns")
        if not isinstance(columns, list):
            raise wrong("the transforms have no list of columns")
        steps: dict[str, list[Step]] = {}
        for column in columns:
            if (
                not isinstance(column, dict)
                or not isinstance(column.get("name"), str)
                or not isinstance(column.get("steps"), list)
            ):
                raise wrong("a column of the transforms has no name or no steps")
            if column["name"] in steps:
                raise wrong(f"the column {column['name']!r} is there twice")
            steps[column["name"]] = [_read(column["name"], step) for step in column["steps"]]
        return cls(steps)

    def to_onnx(self, columns: Sequence[str] | None = None) -> onnx.ModelProto:
        """The pipeline as the first layer of a network.

        Parameters
        ----------
        columns
            The features in the order of the input; those without steps pass through. By default those of the pipeline.

        Returns
        -------
        onnx.ModelProto
            From ``features``, float32, shape (batch, n_columns), to ``transformed``, float32, shape (batch, n_names); opset 17.
        """
        from mlcore.batches.transforms.onnx_export import model

        pipeline = self if columns is None else self.for_columns(columns)
        return model(pipeline._groups(), len(pipeline.columns), len(pipeline.names))

    def to_torch(self, columns: Sequence[str] | None = None) -> torch.nn.Module:
        """The pipeline as a module with buffers and no parameters, from (batch, n_columns) to float32, (batch, n_names).

        ``columns`` are as for `to_onnx`.
        """
        from mlcore.batches.transforms.torch_export import module

        return module((self if columns is None else self.for_columns(columns))._groups())

    @cached_property
    def _fitted_groups(self) -> list[numpy_backend.Group]:
        return numpy_backend.grouped(list(self.steps.values()))

    def _groups(self) -> list[numpy_backend.Group]:
        if not self.is_fitted:
            raise wrong("the pipeline is not fitted", "Call fit(blocks), and go on with what it returns.")
        return self._fitted_groups


def _check(name: str, chain: Sequence[Step]) -> None:
    """Whether steps can follow each other."""
    fitted: Step | None = None
    for at, step in enumerate(chain):
        if not isinstance(step, Step):
            raise wrong(
                f"the column {name!r} has {step!r} for a step",
                f"Steps are {', '.join(kind.__name__ for kind in STEPS.values())}.",
            )
        if isinstance(step, OneHot) and at + 1 < len(chain):
            raise wrong(
                f"OneHot is not the last step of the column {name!r}",
                "It makes several columns, which have no steps of their own.",
            )
        if step.statistic is None:
            continue
        if fitted is not None:
            message = (
                f"{type(step).__name__} of the column {name!r} would have to be fitted to what {type(fitted).__name__} gives"
            )
            raise wrong(message, "One pass fits one such step; Impute before it is no such step.")
        if not isinstance(step, Impute):
            fitted = step


def _column(block: Block, name: str) -> npt.NDArray[np.float64]:
    if name not in block:
        raise DataError.missing("column", name, block, where="the block")
    values = block[name]
    if isinstance(values, Jagged) or values.ndim != 1 or values.dtype.kind not in "biuf":
        raise wrong(f"the column {name!r} has not one number each row", "Define one with an expression, such as Sum(x) or x[0].")
    return values.astype(np.float64)


def _weights(block: Block, name: str) -> npt.NDArray[np.float64]:
    weights = _column(block, name)
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise wrong(
            f"the weights {name!r} hold numbers below 0, or that are not finite", f"Define abs({name}) as a column and take that."
        )
    return weights


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _read(name: str, fields: Any) -> Step:
    called = fields.get("step") if isinstance(fields, dict) else None
    if not isinstance(called, str) or called not in STEPS:
        raise wrong(f"the column {name!r} has the unknown step {called!r}", f"There are {', '.join(STEPS)}.")
    given = {key: value for key, value in fields.items() if key != "step"}
    kind = STEPS[called]
    known = sorted(field.name for field in dataclasses.fields(kind))
    if sorted(given) != known:
        raise wrong(f"{kind.__name__} of the column {name!r} has the fields {sorted(given)}, not {known}")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in given.items()})
