"""Types of values: tensors of an element type and a shape, sequences, optional values.

Element types have the names and numbers of ONNX. Types narrower than a byte take one byte an element here, as NumPy's
extensions have them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import ml_dtypes
import numpy as np

from mlcore.networks.ir.sizes import Size, is_late, product, symbol


class DType(Enum):
    """An element type: its number in ONNX, its NumPy type, its C++ type, and the bytes of an element."""

    number: int
    numpy: np.dtype[Any]
    cpp: str

    FLOAT32 = (1, np.float32, "float")
    UINT8 = (2, np.uint8, "std::uint8_t")
    INT8 = (3, np.int8, "std::int8_t")
    UINT16 = (4, np.uint16, "std::uint16_t")
    INT16 = (5, np.int16, "std::int16_t")
    INT32 = (6, np.int32, "std::int32_t")
    INT64 = (7, np.int64, "std::int64_t")
    STRING = (8, np.object_, "std::string")
    BOOL = (9, np.bool_, "bool")
    FLOAT16 = (10, np.float16, "nn::float16")
    FLOAT64 = (11, np.float64, "double")
    UINT32 = (12, np.uint32, "std::uint32_t")
    UINT64 = (13, np.uint64, "std::uint64_t")
    BFLOAT16 = (16, ml_dtypes.bfloat16, "nn::bfloat16")
    FLOAT8E4M3FN = (17, ml_dtypes.float8_e4m3fn, "nn::float8e4m3fn")
    FLOAT8E4M3FNUZ = (18, ml_dtypes.float8_e4m3fnuz, "nn::float8e4m3fnuz")
    FLOAT8E5M2 = (19, ml_dtypes.float8_e5m2, "nn::float8e5m2")
    FLOAT8E5M2FNUZ = (20, ml_dtypes.float8_e5m2fnuz, "nn::float8e5m2fnuz")
    UINT4 = (21, ml_dtypes.uint4, "nn::uint4")
    INT4 = (22, ml_dtypes.int4, "nn::int4")
    FLOAT4E2M1 = (23, ml_dtypes.float4_e2m1fn, "nn::float4e2m1")
    FLOAT8E8M0 = (24, ml_dtypes.float8_e8m0fnu, "nn::float8e8m0")
    UINT2 = (25, ml_dtypes.uint2, "nn::uint2")
    INT2 = (26, ml_dtypes.int2, "nn::int2")

    def __init__(self, number: int, numpy: Any, cpp: str) -> None:
        self.number = number
        self.numpy = np.dtype(numpy)
        self.cpp = cpp

    @property
    def bytes(self) -> int:
        """Of one element in memory."""
        return int(self.numpy.itemsize)

    @property
    def is_float(self) -> bool:
        """Whether it has an exponent."""
        return "FLOAT" in self.name

    @property
    def is_integer(self) -> bool:
        """Whether it is a whole number; bool is none."""
        return "INT" in self.name

    @property
    def is_signed(self) -> bool:
        """Whether it has negative values."""
        return not self.name.startswith("UINT") and self not in (DType.BOOL, DType.STRING)

    @property
    def is_small(self) -> bool:
        """Whether it is computed in float32: floating-point types of 16 bits and fewer."""
        return self.is_float and self.bytes <= 2

    def __str__(self) -> str:
        return self.name.lower()

    @classmethod
    def of_number(cls, number: int) -> DType | None:
        """The element type of a number of ONNX's; None where it is not supported (complex numbers)."""
        return _BY_NUMBER.get(number)

    @classmethod
    def of(cls, array: np.ndarray[Any, Any]) -> DType:
        """The element type of an array.

        Raises
        ------
        TypeError
            It has none here.
        """
        if array.dtype.kind in "US":
            return cls.STRING
        try:
            return _BY_NUMPY[array.dtype]
        except KeyError:
            raise TypeError(f"arrays of {array.dtype} have no element type here") from None


_BY_NUMBER = {dtype.number: dtype for dtype in DType}
_BY_NUMPY = {dtype.numpy: dtype for dtype in DType}

Shape = tuple[Size, ...]


@dataclass(frozen=True)
class TensorType:
    """A tensor, dense and row-major.

    Attributes
    ----------
    shape
        None where not even the rank is known, as for elements of a sequence.
    """

    dtype: DType
    shape: Shape | None = None

    @property
    def dims(self) -> Shape:
        """The shape of a tensor whose rank is known.

        Raises
        ------
        ValueError
            It is not known.
        """
        if self.shape is None:
            raise ValueError("the rank of this tensor is not known")
        return self.shape

    @property
    def rank(self) -> int:
        return len(self.dims)

    @property
    def count(self) -> Size:
        """The number of elements."""
        return product(self.dims)

    @property
    def is_late(self) -> bool:
        """Whether a node has to run before its shape is known."""
        return self.shape is None or any(map(is_late, self.shape))

    def __str__(self) -> str:
        return f"{self.dtype}[{'...' if self.shape is None else ', '.join(map(repr, self.shape))}]"


VARIES = symbol("varies", late=True)
"""The size of an axis that is not the same for all tensors of a sequence, or not known for one that may be absent."""


@dataclass(frozen=True)
class SequenceType:
    """A sequence of tensors of one element type; their shapes may differ.

    Attributes
    ----------
    element
        Its shape holds for all of them, with `VARIES` for sizes that differ; None where their ranks differ or are not known.
    is_empty
        Whether it is known to hold nothing: then its elements' shape is still to come.
    """

    element: TensorType
    is_empty: bool = False

    def __str__(self) -> str:
        return f"sequence({self.element})"


@dataclass(frozen=True)
class OptionalType:
    """A tensor or sequence that may be absent."""

    element: TensorType | SequenceType

    def __str__(self) -> str:
        return f"optional({self.element})"


ValueType = TensorType | SequenceType | OptionalType


def stored(kind: TensorType) -> TensorType:
    """The type of a tensor as what a sequence holds: sizes that are found out on the way vary."""
    if kind.shape is None:
        return kind
    return TensorType(kind.dtype, tuple(VARIES if is_late(size) else size for size in kind.shape))


def joined(left: TensorType, right: TensorType) -> TensorType:
    """The type that holds for tensors of two types, whose element types are equal, in one sequence."""
    left, right = stored(left), stored(right)
    if left.shape is None or right.shape is None or len(left.shape) != len(right.shape):
        return TensorType(left.dtype)
    return TensorType(left.dtype, tuple(a if a == b else VARIES for a, b in zip(left.shape, right.shape, strict=True)))


def joined_sequences(left: SequenceType, right: SequenceType) -> SequenceType:
    """The type that holds for two sequences, whose element types are equal."""
    if left.is_empty or right.is_empty:
        return right if left.is_empty else left
    return SequenceType(joined(left.element, right.element))
