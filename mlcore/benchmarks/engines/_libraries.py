"""Libraries of forests through their own C API, in a loop of C++."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from importlib import util
from pathlib import Path

from mlcore.benchmarks import native
from mlcore.benchmarks.cases import Case
from mlcore.benchmarks.engines._engine import Made, NativeEngine, RefusedError, Site, packages_of
from mlcore.filetypes import detect


class LibraryEngine(NativeEngine):
    """A library that reads its own files.

    Parameters
    ----------
    name, title, module, distribution
        As of `Engine`.
    adapter
        In `mlcore.benchmarks.native`.
    library
        Of C, in the package's folder.
    suffixes
        The kinds of file that it reads, with the suffix that it knows them by.
    all_rounds
        What says that all boosting rounds count.
    """

    kinds = ("forest",)

    def __init__(
        self, name: str, title: str, module: str, distribution: str, *, adapter: str, library: str, suffixes: dict[str, str],
        all_rounds: int,
    ) -> None:  # fmt: skip
        # One class for several engines.
        self.name, self.title, self.module, self.distribution = name, title, module, distribution
        self._adapter, self._library, self._suffixes, self._all_rounds = adapter, library, suffixes, all_rounds

    def absent(self, site: Site) -> str:
        return super().absent(site) or ("" if self._found(site) else "its package has no C library")

    def make(self, case: Case, folder: Path, site: Site) -> Made:
        from mlcore.forests.forest import load

        kind = detect(case.path).kind
        if kind not in self._suffixes:
            raise RefusedError(f"does not read {kind} files")
        path = folder / f"model{self._suffixes[kind]}"
        shutil.copyfile(case.path, path)
        rounds = load(case.path).model.n_rounds
        note = folder / "rounds"
        note.write_text(str(self._all_rounds if rounds is None else rounds), encoding="ascii")
        return Made({"model": str(path), "rounds": str(note)}, ("model",))

    def call(self, case: Case, made: Made, threads: int, site: Site) -> Sequence[object]:
        adapter = native.adapter(site.cache / "native", self._adapter)
        return adapter, self._found(site), made.path("model"), threads, made.path("rounds").read_text(encoding="ascii")

    def _found(self, site: Site) -> Path | None:
        with packages_of(site, self.name):
            spec = util.find_spec(self.module)
        if spec is None or spec.origin is None:
            return None
        path = Path(spec.origin).parent / self._library
        return path if path.exists() else None
