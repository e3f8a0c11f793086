"""Forests saved by `Forest.save`: the tree IR itself, whichever library it came from. See `mlcore.forests.saved`.

`mlcore.forests.load` maps such a file instead of reading it here.
"""

from __future__ import annotations

from mlcore.errors import InputError
from mlcore.filetypes import FOREST_MAGIC
from mlcore.forests.frontends import Iterations
from mlcore.forests.ir import TreeModel

FORMAT = "ml4ep-forest"


def matches(head: bytes) -> bool:
    """A file with the magic number."""
    return head.startswith(FOREST_MAGIC)


def read(data: bytes, *, iterations: Iterations) -> TreeModel:
    """The model of a file, verified.

    Raises
    ------
    InputError
        It is truncated or damaged, or asked for the best rounds while it holds all.
    """
    from mlcore.forests import saved

    return check_rounds(saved.read(data), iterations)


def check_rounds(model: TreeModel, iterations: Iterations) -> TreeModel:
    """Refuse to choose rounds, which a saved forest no longer tells apart.

    Raises
    ------
    InputError
        The best rounds are asked for, the library knew them, and the forest was saved with all.
    """
    if iterations == "best" and model.best_iteration is not None and model.n_rounds is None:
        hint = 'Load the model\'s own file with iterations="best" and save that.'
        raise InputError("the forest was saved with all rounds, so the best cannot be chosen", hint=hint, code="forest.rounds")
    return model
