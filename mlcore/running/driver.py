"""The process that runs somebody's code: ``python driver.py`` in a folder of its own, at the innermost of the sandbox.

It reads ``request.json``, runs what that says, writes ``ended`` once the code has come to its end, and then saves what was drawn.
The standard library and what the code asks for are all that it imports. It shares its process with that code, so nothing it says
is believed but that the code says so.
"""

from __future__ import annotations

import builtins
import ctypes
import json
import linecache
import os
import re
import sys
import traceback
import types
import warnings
from pathlib import Path
from typing import Any

PICTURES = "pictures"
ENDED = "ended"
MOST_PICTURES = 16
COMPILED_NOT = "exception: std::exception"  # how the interpreter ends after it has said what is wrong


def main() -> int:
    """Run what ``request.json`` describes; 0 where it came to its end without an error."""
    request = json.loads(Path("request.json").read_text(encoding="utf-8"))
    Path("request.json").unlink()
    code = python(request) if request["language"] == "python" else macro(request)
    flush()
    if code == 0:
        Path(ENDED).touch()
        pictures()
    flush()
    return code


def flush() -> None:
    """What C and C++ hold back comes before what Python says next."""
    sys.stdout.flush()
    sys.stderr.flush()
    ctypes.CDLL(None).fflush(None)


def root() -> Any:
    """ROOT without a display."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"\s*This distribution of ROOT")  # which is for the administrator
        import ROOT

    ROOT.gROOT.SetBatch(True)
    ROOT.gEnv.SetValue("Root.Stacktrace", 0)  # of a crash; it would take gdb
    return ROOT


# --- C++ ------------------------------------------------------------------------------------------------------------------------


def macro(request: dict[str, Any]) -> int:
    """Load and execute the parts of a macro, then make its call."""
    interpreter = root().gROOT
    for folder in request["include"]:
        interpreter.ProcessLine(f".include {folder}")
    for command in request["commands"]:
        failed = ctypes.c_int(0)
        try:
            interpreter.ProcessLine(command, failed)
        except Exception as error:
            flush()
            said = str(error).rpartition("=>")[2].strip()
            if said != COMPILED_NOT:
                print(said, file=sys.stderr)
            return 1
        flush()
        if failed.value:
            return 1
    return 0


# --- Python ---------------------------------------------------------------------------------------------------------------------


def python(request: dict[str, Any]) -> int:
    """Execute a Python program as if it were the main one."""
    path = request["path"]
    source = Path(path).read_text(encoding="utf-8")
    if re.search(r"\bROOT\b", source):
        root()
    warnings.filterwarnings("ignore", message=".*non-interactive, and thus cannot be shown")
    builtins.input = lambda prompt="": print(prompt) or ""  # nobody is there to answer
    module = types.ModuleType("__main__")
    module.__file__ = path
    sys.modules["__main__"] = module
    sys.argv = [path]
    sys.path.insert(0, str(Path(path).resolve().parent))
    linecache.cache[path] = (len(source), None, source.splitlines(keepends=True), path)
    try:
        exec(compile(source, path, "exec"), vars(module))  # noqa: S102 - it is what this process is for
    except SystemExit as leaving:
        return exit_code(leaving)
    except BaseException as error:
        flush()
        ours = error.__traceback__
        theirs = ours.tb_next if ours else None
        traceback.print_exception(type(error), error, theirs)
        return 1
    return 0


def exit_code(leaving: SystemExit) -> int:
    """As the interpreter has it."""
    if leaving.code is None or isinstance(leaving.code, int):
        return leaving.code or 0
    print(leaving.code, file=sys.stderr)
    return 1


# --- what was drawn -------------------------------------------------------------------------------------------------------------


def pictures() -> None:
    """Save the canvases of ROOT and the figures of matplotlib."""
    folder = Path(PICTURES)
    folder.mkdir(exist_ok=True)
    root: Any = sys.modules.get("ROOT")
    if root:
        root.gErrorIgnoreLevel = root.kWarning
        for number, canvas in enumerate(list(root.gROOT.GetListOfCanvases())[:MOST_PICTURES], 1):
            canvas.Update()
            canvas.SaveAs(str(folder / f"canvas-{number}.png"))
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        for number in pyplot.get_fignums()[:MOST_PICTURES]:
            pyplot.figure(number).savefig(folder / f"figure-{number}.png")


if __name__ == "__main__":
    status = 1
    try:
        status = main()
    except BaseException:
        traceback.print_exc()
    flush()
    os._exit(status)  # ROOT's own end may crash over what the code left behind
