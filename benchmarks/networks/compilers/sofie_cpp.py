"""From an ONNX file to SOFIE's C++; runs in SOFIE's own environment: ``model header``. The weights go beside the header."""

import sys

import sofie

model, header = sys.argv[1:]
parsed = sofie.onnx.parse(model)
parsed.generate()
parsed.output_generated(header)
