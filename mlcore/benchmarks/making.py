"""Artefacts of engines: converted and compiled once for each case, in a process of their own.

Run as ``python -m mlcore.benchmarks.making ENGINE CASE FOLDER SITE``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from mlcore.benchmarks import engines
from mlcore.benchmarks.cases import Case, child_environment
from mlcore.benchmarks.engines import Engine, Made, RefusedError, Site
from mlcore.benchmarks.engines._engine import one_line
from mlcore.errors import MLCoreError

MAKING_SECONDS = 900
"""That an engine gets to convert and compile one case."""


def make(engine: Engine, case: Case, site: Site, *, spelled: str = "", seconds: float = MAKING_SECONDS) -> Made:
    """What an engine makes of a case; kept as `Site.made` says, as are refusals.

    Parameters
    ----------
    spelled
        What `engines.get` is called with; the engine's name by default.
    seconds
        That it may take.

    Raises
    ------
    RefusedError
        It does not take the case.
    """
    folder = (site.made or site.cache / "made") / f"{engine.name}-{case.folder.name}"
    note = folder / "made.json"
    if not note.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        command = [sys.executable, "-m", "mlcore.benchmarks.making", spelled or engine.name, case.folder, folder, site.to_json()]
        try:
            done = subprocess.run(
                [*map(str, command)],
                env=child_environment(site.packages(engine.name)),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=seconds,
            )
            failed = "" if note.exists() else f"converting it fails: {one_line(done.stderr) or f'status {done.returncode}'}"
        except subprocess.TimeoutExpired:
            failed = f"converting it takes more than {seconds:.0f} s"
        if failed:
            note.write_text(json.dumps({"refused": failed}), encoding="utf-8")
    content = json.loads(note.read_text(encoding="utf-8"))
    if "refused" in content:
        raise RefusedError(content["refused"])
    return Made(**{**content, "artefact": tuple(content["artefact"])})


def main(name: str, case: Path, folder: Path, site: str) -> None:
    """Make it, and note what was made or why not."""
    content: dict[str, object]
    try:
        content = asdict(engines.get(name).make(Case.open(case), folder, Site.from_json(site)))
    except (RefusedError, MLCoreError) as error:
        content = {"refused": one_line(str(error)) or type(error).__name__}
    (folder / "made.json").write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
