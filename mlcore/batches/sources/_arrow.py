"""Arrow's types and arrays as columns and their values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mlcore.batches.blocks import Array, Values
from mlcore.batches.schema import Column
from mlcore.batches.sources._values import jagged_of, number_column
from mlcore.errors import InputError


def columns_of(name: str, kind: Any) -> Iterator[Column]:
    """The columns of a field of a type: several, with dots, where it is a struct or a list of structs."""
    import pyarrow as pa

    jagged = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    inner = kind.value_type if jagged else kind
    if pa.types.is_struct(inner):
        for i in range(inner.num_fields):
            field = inner.field(i)
            if jagged and (pa.types.is_list(field.type) or pa.types.is_large_list(field.type)):
                yield Column(f"{name}.{field.name}", None, jagged=True, typename=str(kind), why_not="it holds lists of lists")
                continue
            below = [pa.list_(field.type)] if jagged else [field.type]
            yield from columns_of(f"{name}.{field.name}", below[0])
        return
    shape: tuple[int, ...] = ()
    while pa.types.is_fixed_size_list(inner):
        shape = (*shape, inner.list_size)
        inner = inner.value_type
    if pa.types.is_integer(inner) or pa.types.is_floating(inner) or pa.types.is_boolean(inner):
        yield number_column(name, np.dtype(inner.to_pandas_dtype()), shape, jagged=jagged, typename=str(kind))
        return
    nested = jagged and (pa.types.is_list(inner) or pa.types.is_large_list(inner))
    yield Column(name, None, shape, jagged, str(kind), "it holds lists of lists" if nested else "it holds no numbers")


def values_of(table: Any, column: Column, where: str) -> Values:
    """The rows of a column of a table.

    Raises
    ------
    InputError
        A row has no value, and the type has none for that.
    """
    import pyarrow as pa

    array = _find(table, column.name)
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
        if isinstance(array, pa.ChunkedArray):  # without chunks
            array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if column.jagged:
        counts = np.asarray(array.value_lengths().fill_null(0), np.int64)
        return jagged_of(_numbers(array.flatten(), column, where), counts)
    return _numbers(array, column, where)


def _find(table: Any, name: str) -> Any:
    """The array of a column, whose name may have dots of its own and dots between the fields of structs."""
    import pyarrow as pa

    names = name.split(".")
    for used in range(len(names), 0, -1):
        head = ".".join(names[:used])
        if head not in table.column_names:
            continue
        array = table.column(head)
        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)
        rest = names[used:]
        while rest:
            array, rest = _step(array, rest)
        return array
    raise InputError(f"the table has no column {name!r} any more", hint="Open it anew.")


def _step(array: Any, names: list[str]) -> tuple[Any, list[str]]:
    """The field of a struct array, or of a list array of structs, and the names that are left."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lists = pa.types.is_list(array.type) or pa.types.is_large_list(array.type)
    inner = array.type.value_type if lists else array.type
    for used in range(len(names), 0, -1):
        field = ".".join(names[:used])
        if inner.get_field_index(field) < 0:
            continue
        if not lists:
            return pc.struct_field(array, field), names[used:]
        lengths = np.asarray(array.value_lengths().fill_null(0), np.int64)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        values = pc.struct_field(array.flatten(), field)
        return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values), names[used:]
    raise InputError(f"there is no field {'.'.join(names)!r}", hint="Open it anew.")


def _numbers(array: Any, column: Column, where: str) -> Array:
    import pyarrow as pa

    rows = len(array)
    while pa.types.is_fixed_size_list(array.type):
        if array.null_count:
            raise _no_value(array, column, where)
        array = array.flatten()
    if array.null_count and not pa.types.is_floating(array.type):
        raise _no_value(array, column, where)
    # Floating point without a value becomes NaN.
    values: Array = array.to_numpy(zero_copy_only=False)
    if column.dtype is not None and values.dtype != column.dtype:
        values = values.astype(column.dtype)
    return values.reshape(rows, *column.shape)


def _no_value(array: Any, column: Column, where: str) -> InputError:
    return InputError(
        f"{where}: column {column.name!r} ({column.typename}) has {array.null_count} rows without a value",
        hint="Fill them first; only floating-point columns can hold NaN instead.",
        code="batches.null",
    )
