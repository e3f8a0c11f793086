"""SOFIE, as PyPI has it."""

from __future__ import annotations

from mlcore.benchmarks.engines._sofie import SofieEngine

PROGRAM = """
import sys, sofie
parsed = sofie.onnx.parse(sys.argv[1])
parsed.generate()
parsed.output_generated(sys.argv[2])
"""


class Sofie(SofieEngine):
    name = "sofie"
    title = "SOFIE"
    module = distribution = "sofie"
    requirements = ("sofie==0.1.0",)
    program = PROGRAM


ENGINE = Sofie()
