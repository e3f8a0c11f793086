"""Lists of numbers in untrusted documents."""

from __future__ import annotations

import numpy as np
import pytest

from mlcore.errors import InputError
from mlcore.forests.frontends._fields import Fields


@pytest.mark.parametrize("values", [["x" * 1_000_000] + [0] * 1_000_000, [[1], 2], [None], [1 << 70], ["1"]])
def test_what_is_no_number_is_refused_before_it_takes_memory(values: list[object]) -> None:
    """NumPy would give every entry the room of the longest text: four million megabytes for the first list."""
    with pytest.raises(InputError, match=r"model\.key should be a list of"):
        Fields({"key": values}, "model").integers("key", np.int64)
    with pytest.raises(InputError, match=r"model\.key should be a list of"):
        Fields({"key": values}, "model").reals("key", np.float32)
