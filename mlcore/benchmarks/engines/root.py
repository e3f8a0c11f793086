"""ROOT: the SOFIE in its TMVA, where ROOT was built with it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import util
from pathlib import Path

from mlcore.benchmarks.engines._engine import Site
from mlcore.benchmarks.engines._sofie import SofieEngine

PROGRAM = """
import sys, ROOT
parsed = ROOT.TMVA.Experimental.SOFIE.RModelParser_ONNX().Parse(sys.argv[1])
parsed.Generate()
parsed.OutputGenerated(sys.argv[2])
"""
PARSER = "libROOTTMVASofieParser*"
PLACES = ("lib", ".", "..", "../lib", "../lib/root")
"""Where ROOT's libraries lie, from the folder of its Python module: of a wheel, of an installation, of a distribution."""


class Root(SofieEngine):
    name = "root"
    title = "ROOT, SOFIE"
    module = "ROOT"
    distribution = "root"
    program = PROGRAM

    @property
    def install(self) -> str:
        return "a ROOT that was built with tmva-sofie, such as conda's or LCG's; the wheel root has no TMVA"

    def absent(self, site: Site) -> str:
        folder = _folder()
        if folder is None:
            return f"not installed: {self.install}"
        if not any(found for place in PLACES for found in folder.glob(f"{place}/{PARSER}")):
            return f"this ROOT has no SOFIE: it needs {self.install}"
        return ""

    def include(self) -> Sequence[Path]:
        folder = _folder()
        return () if folder is None else [path for path in (folder / "include", folder.parent / "include") if path.is_dir()]


def _folder() -> Path | None:
    """ROOT's folder: of its Python module, or the one above, where its libraries and headers are."""
    spec = util.find_spec("ROOT")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent


ENGINE = Root()
