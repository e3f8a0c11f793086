"""The intermediate representation of networks: sizes, types, graphs."""

from mlcore.networks.ir.graph import REQUIRED, Array, Body, Constraint, Graph, Node, Symbols, Value, constant, identifier
from mlcore.networks.ir.sizes import Expr, Size, Symbol, is_late, larger, product, smaller, symbol
from mlcore.networks.ir.types import DType, OptionalType, SequenceType, Shape, TensorType, ValueType

__all__ = [
    "REQUIRED",
    "Array",
    "Body",
    "Constraint",
    "DType",
    "Expr",
    "Graph",
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
    "is_late",
    "larger",
    "product",
    "smaller",
    "symbol",
]
