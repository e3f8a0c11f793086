"""Code of strangers, run: C++ macros, PyROOT and other Python in the sandbox, with the installed ROOT.

`run_code` gives a `CodeRun`: what the code wrote, the pictures it drew, and whether it came to its end. Nothing of it runs where
there is no bubblewrap; `docs/reference/sandbox.md` says what holds inside.
"""

from __future__ import annotations

from mlcore.running.code import CODE_CHARACTERS, LIMITS, CodeRun, run_code, tutorial_path
from mlcore.running.pictures import Picture

__all__ = ["CODE_CHARACTERS", "LIMITS", "CodeRun", "Picture", "run_code", "tutorial_path"]
