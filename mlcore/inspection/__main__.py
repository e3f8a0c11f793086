"""The child's side of `mlcore.inspection.isolated`: a question as JSON on standard input, the answer on standard output."""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from mlcore.errors import MLCoreError
from mlcore.inspection import histogram, inspect


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """The inspection or histogram asked for, or the error that it ended in."""
    path = Path(question.pop("path"))
    try:
        if "tree" in question:
            return histogram(path, **question).to_json()
        return inspect(path, **question).to_json()
    except MLCoreError as error:
        return {"error": type(error).__name__, "message": error.message, "hint": error.hint, "code": error.code}


def main() -> None:
    """Answer one question."""
    warnings.simplefilter("ignore")
    # Libraries may print: what they do goes to standard error, the answer alone to standard output.
    with os.fdopen(os.dup(1), "w") as output:
        os.dup2(2, 1)
        json.dump(answer(json.load(sys.stdin)), output, allow_nan=False)


if __name__ == "__main__":
    main()
