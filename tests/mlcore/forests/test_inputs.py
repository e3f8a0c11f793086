"""Every container of events gives the predictions of the plain array; what does not fit is refused with a reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlcore.errors import InputError
from mlcore.forests import Forest, load
from tests.mlcore.forests.conftest import events, train_lightgbm, train_xgboost

NAMES = ("pt", "eta", "phi", "m jj", "met", "ht")


def named(objective: str = "binary:logistic", **options: Any) -> Forest:
    """A forest whose features have names."""
    import xgboost

    x, target = events(500)
    data = xgboost.DMatrix(x, target > 0, feature_names=list(NAMES))
    return load(xgboost.train({"objective": objective, "max_depth": 3, "nthread": 1, **options}, data, 5))


@pytest.fixture(scope="module")
def forest() -> Forest:
    return named()


@pytest.fixture(scope="module")
def double() -> Forest:
    return load(train_lightgbm(objective="multiclass"))


class Frame:
    """As much of a data frame as is looked at."""

    def __init__(self, columns: list[Any], values: Any) -> None:
        self.columns = columns
        self.values = values

    def to_numpy(self) -> Any:
        return self.values


def strided(x: Any) -> Any:
    wide = np.zeros((2 * len(x), 3 * x.shape[1]), x.dtype)
    wide[::2, ::3] = x
    return wide[::2, ::3]


def records(x: Any) -> Any:
    table = np.zeros(len(x), [("extra", "f4"), *((name, x.dtype) for name in reversed(NAMES))])
    for i, name in enumerate(NAMES):
        table[name] = x[:, i]
    return table


def awkward_records(x: Any) -> Any:
    import awkward

    return awkward.zip({name: x[:, i] for i, name in reversed(list(enumerate(NAMES)))})


def awkward_lists(x: Any) -> Any:
    import awkward

    return awkward.Array(x.tolist())


def awkward_missing(x: Any) -> Any:
    import awkward

    return awkward.Array([[None if np.isnan(value) else value for value in row] for row in x.tolist()])


def tensor(x: Any) -> Any:
    import torch

    return torch.from_numpy(x).requires_grad_()


CONTAINERS: dict[str, Callable[[Any], Any]] = {
    "C order": lambda x: x,
    "Fortran order": np.asfortranarray,
    "strided": strided,
    "from the end": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "columns from the end": lambda x: np.ascontiguousarray(x[:, ::-1])[:, ::-1],
    "broadcast": lambda x: np.broadcast_to(x[3], x.shape),
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
    "foreign byte order": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "subclass": lambda x: x.view(type("Sub", (np.ndarray,), {})),
    "masked": lambda x: np.ma.masked_invalid(x),
    "lists": lambda x: x.astype(np.float64).tolist(),
    "tensor": tensor,
    "data frame": lambda x: Frame(list(NAMES), x),
    "data frame without names": lambda x: Frame(list(range(6)), x),
    "data frame of objects": lambda x: Frame(list(NAMES), np.array(x, object)),
    "structured": records,
    "awkward records": awkward_records,
    "awkward lists": awkward_lists,
    "awkward with None": awkward_missing,
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("container", CONTAINERS)
def test_containers(container: str, dtype: Any, forest: Forest) -> None:
    x = events(77)[0].astype(dtype)
    held = CONTAINERS[container](x)
    x = np.asarray(held, dtype) if container == "broadcast" else x
    np.testing.assert_array_equal(forest.margin(held), forest.margin(x.copy()))
    np.testing.assert_array_equal(forest.predict(held, threads=2), forest.predict(x.copy()))
    np.testing.assert_array_equal(forest.leaves(held), forest.leaves(x.copy()))


@pytest.mark.parametrize("dtype", ["float16", "int8", "uint16", "int64", "bool", "bfloat16"])
def test_other_numbers_are_converted(dtype: str, forest: Forest) -> None:
    import torch

    x = torch.from_numpy(np.round(np.abs(np.nan_to_num(events(50)[0])))).to(getattr(torch, dtype))
    wanted = forest.margin(x.double().numpy())
    np.testing.assert_array_equal(forest.margin(x), wanted)
    if dtype != "bfloat16":
        np.testing.assert_array_equal(forest.margin(x.numpy()), wanted)


def test_a_tensor_is_not_copied() -> None:
    import torch

    from mlcore.forests import inputs

    x = torch.zeros(10, 6)
    assert np.shares_memory(inputs.rows(x, 6), x.numpy())


def test_zero_rows(forest: Forest, double: Forest) -> None:
    nothing = np.zeros((0, 6), np.float32)
    assert forest.margin(nothing).shape == forest.predict(nothing).shape == (0,)
    assert double.margin(nothing).shape == double.predict(nothing).shape == (0, 3)
    assert double.leaves(nothing).shape == (0, 36)
    out = np.zeros((0, 3))
    assert double.predict(nothing, out=out) is out


def test_out(forest: Forest, double: Forest) -> None:
    x = events(40)[0]
    for made, dtype, shape in [(forest, np.float32, (40,)), (double, np.float64, (40, 3))]:
        for call in (made.margin, made.predict):
            out = np.full(shape, np.nan, dtype)
            assert call(x, out=out) is out
            np.testing.assert_array_equal(out, call(x))
            out[...] = np.nan
            assert call(x.tolist(), out=out) is out
            np.testing.assert_array_equal(out, call(x.astype(np.float64)))


BAD_OUT: dict[str, tuple[Any, str]] = {
    "shape": (np.zeros(39, np.float32), r"shape \(39,\), the result float32 of the shape \(40,\)"),
    "dimension": (np.zeros((40, 1), np.float32), r"shape \(40, 1\)"),
    "type": (np.zeros(40), "out is float64"),
    "strides": (np.zeros(80, np.float32)[::2], "out is float32"),
    "list": ([0.0] * 40, "out is a list"),
}


@pytest.mark.parametrize("case", BAD_OUT)
def test_out_that_does_not_fit(case: str, forest: Forest) -> None:
    out, message = BAD_OUT[case]
    for x in (events(40)[0], events(40)[0].tolist()):
        with pytest.raises(InputError, match=message):
            forest.predict(x, out=out)


def test_out_that_is_read_only(forest: Forest) -> None:
    out = np.zeros(40, np.float32)
    out.flags.writeable = False
    with pytest.raises(InputError, match="read-only"):
        forest.margin(events(40)[0], out=out)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", None])
def test_bad_threads(threads: Any, forest: Forest) -> None:
    with pytest.raises(InputError, match="threads is"):
        forest.margin(events(4)[0].tolist(), threads=threads)


def test_threads_agree(double: Forest) -> None:
    x = events(1500)[0]
    np.testing.assert_array_equal(double.margin(x, threads=3), double.margin(x))


def frame(names: list[str]) -> Callable[[], Any]:
    return lambda: Frame(names, np.zeros((3, len(names))))


def awkward_ragged() -> Any:
    import awkward

    return awkward.Array([[1.0] * 6, [1.0] * 5])


def awkward_nested() -> Any:
    import awkward

    return awkward.Array([{name: [1.0, 2.0] for name in NAMES}])


def on_the_meta_device() -> Any:
    import torch

    return torch.zeros(3, 6, device="meta")


BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "one event": (lambda: np.zeros(6, np.float32), r"X is one-dimensional, shape \(6,\)"),
    "one number": (lambda: np.float32(1), r"X has the shape \(\)"),
    "width": (lambda: np.zeros((3, 5)), r"shape \(3, 5\), the forest needs \(n_rows, 6\)"),
    "three dimensions": (lambda: np.zeros((3, 6, 1), np.float32), r"shape \(3, 6, 1\)"),
    "texts": (lambda: np.array([["a"] * 6]), "not numbers"),
    "objects": (lambda: np.array([[{}] * 6]), "not numbers"),
    "complex numbers": (lambda: np.zeros((3, 6), complex), "not numbers"),
    "times": (lambda: np.zeros((3, 6), "M8[s]"), "not numbers"),
    "ragged lists": (lambda: [[1.0] * 6, [1.0] * 5], "X is no array"),
    "ragged awkward": (awkward_ragged, "X is ragged"),
    "nested awkward": (awkward_nested, "no plain numbers"),
    "order": (frame([*NAMES[1:], NAMES[0]]), "another order than at the training: 'eta' for 'pt'"),
    "other columns": (frame(["pt", "eta", "phi", "mjj", "met", "ht"]), "X has no column 'm jj'"),
    "more columns": (frame([*NAMES, "id"]), "X has columns that the forest does not know"),
    "fields": (lambda: np.zeros(3, [("pt", "f4")]), "X has no field 'eta'"),
    "device": (on_the_meta_device, "device meta"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(case: str, forest: Forest) -> None:
    make, message = BAD[case]
    with pytest.raises(InputError, match=message) as caught:
        forest.predict(make())
    assert caught.value.hint


def test_generic_names_bind_nobody() -> None:
    """A library that was given no names makes some up, which no data frame has."""
    x = events(20)[0]
    for made in (load(train_lightgbm(objective="binary")), load(train_xgboost(objective="binary:logistic"))):
        np.testing.assert_array_equal(made.predict(Frame(list(NAMES), x)), made.predict(x))


def test_header_and_engine(forest: Forest, tmp_path: Path) -> None:
    header = forest.to_cpp(tmp_path / "new", name="higgs")
    assert header == tmp_path / "new" / "higgs.hpp"
    assert "namespace higgs" in header.read_text()
    assert forest.engine
    with pytest.raises(InputError, match="no C"):
        forest.to_cpp(tmp_path, name="class")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        forest.to_cpp(tmp_path / "file")
