"""``python -m tests [option of pytest or file ...]``: the tests, two processes of pytest at a time.

A process has some of the folders, and with them servers, a database and files of its own; what crashes it fails its folders
and no others. What it prints is shown when it has ended, or when this one is stopped. Where files or folders are named, pytest
gets all arguments as they are.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

TESTS = Path(__file__).parent
AT_A_TIME = 2
SMALL = 0.05
"""Folders with less than this part of the tests' bytes share a process, since beginning costs some seconds."""

NOTHING_CHOSEN = 5  # pytest's status where -k or -m left no test


@dataclass
class Run:
    """A process of pytest and what it prints."""

    folders: list[Path]
    output: IO[str]
    process: subprocess.Popen[str]
    began: float = field(default_factory=time.monotonic)

    @property
    def passed(self) -> bool:
        return self.process.returncode in (0, NOTHING_CHOSEN)

    @property
    def names(self) -> str:
        return " ".join(str(folder.relative_to(TESTS.parent)) for folder in self.folders)

    def show(self) -> None:
        """All that it printed."""
        print(f"\n=== {self.names}: {time.monotonic() - self.began:.0f} s", flush=True)
        self.output.seek(0)
        sys.stdout.writelines(self.output)
        sys.stdout.flush()


def groups(tests: Path) -> list[list[Path]]:
    """The folders of tests, those that go together in one list; the most first."""
    places = [each for each in [*tests.iterdir(), *(tests / "mlcore").iterdir()] if each.name != "mlcore"]
    amounts = {each: amount for each in places if (amount := _bytes(each))}
    least = SMALL * sum(amounts.values())
    large = sorted((each for each, amount in amounts.items() if amount >= least), key=lambda each: -amounts[each])
    small = sorted(each for each, amount in amounts.items() if amount < least)
    return sorted(
        [*([each] for each in large), *([small] if small else [])], key=lambda group: -sum(map(amounts.__getitem__, group))
    )


def _bytes(place: Path) -> int:
    return sum(each.stat().st_size for each in ([place] if place.is_file() else place.rglob("*")) if each.match("test_*.py"))


def start(folders: list[Path], options: Sequence[str]) -> Run:
    output = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - open until its end
    command = [sys.executable, "-u", "-m", "pytest", "-p", "no:cacheprovider", *options, *map(str, folders)]
    return Run(folders, output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, text=True))


def main(arguments: Sequence[str]) -> int:
    """Run the tests; 0 where all passed."""
    if any(not each.startswith("-") and Path(each.partition("::")[0]).exists() for each in arguments):
        return subprocess.call([sys.executable, "-m", "pytest", *arguments])
    waiting, running, failed = groups(TESTS), list[Run](), list[Run]()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        while waiting or running:
            while waiting and len(running) < AT_A_TIME:
                running.append(start(waiting.pop(0), arguments))
                print(f"running {running[-1].names}", flush=True)
            time.sleep(0.2)
            for run in [each for each in running if each.process.poll() is not None]:
                running.remove(run)
                run.show()
                if not run.passed:
                    failed.append(run)
    finally:
        for run in running:
            run.process.send_signal(signal.SIGINT)
            run.show()
    for run in failed:
        print(f"failed ({run.process.returncode}): {run.names}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
