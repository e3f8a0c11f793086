"""The intermediate representation of networks: sizes, types, graphs."""

from mlcore.networks.ir.graph import REQUIRED, Array, Body, Constraint, Graph, Names, Node, Symbols, Value, constant, identifier
from mlcore.networks.ir.sizes import Expr, Size, Symbol, interval, is_late, larger, product, smaller, symbol
from mlcore.networks.ir.types import (
    VARIES,
    DType,
    OptionalType,
    SequenceType,
    Shape,
    TensorType,
    ValueType,
    joined,
    joined_sequences,
    stored,
)

__all__ = [
    "REQUIRED",
    "VARIES",
    "Array",
    "Body",
    "Constraint",
    "DType",
    "Expr",
    "Graph",
    "Names",
    "Node",
    "OptionalType",
    "SequenceType",
    "Shape",
    "Size",
    "Symbol",
    "Symbols",
    "TensorType",
    "Value",
    "ValueType",
    "constant",
    "identifier",
    "interval",
    "is_late",
    "joined",
    "joined_sequences",
    "larger",
    "product",
    "smaller",
    "stored",
    "symbol",
]
