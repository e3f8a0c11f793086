"""Networks: ONNX models to standalone C++ (the job of ROOT's SOFIE), and a predictor of the same code.

Public names: `load` (a model as a `Network` that Python runs), `compile_model` (a model as a C++ project, verified, with a
`CompileReport`), `check` (what is supported, what passes make of it, what it costs, before anything is compiled), `profile`
(seconds by node), `BuildOptions`. `mlcore.networks.onnx_backend` is ONNX's Backend interface.

Examples
--------
::

    network = networks.load("tagger.onnx", shapes={"particles": ("n", 7)})
    scores = network.run({"particles": particles})["scores"]
    networks.compile_model("tagger.onnx", Path("out"), name="tagger")
"""

from mlcore.networks.build import BuildOptions, Math
from mlcore.networks.checking import CheckReport, check
from mlcore.networks.conversion import CompileReport, compile_model
from mlcore.networks.predictor import Network, PortInfo, load
from mlcore.networks.profiling import Profile, profile

__all__ = [
    "BuildOptions",
    "CheckReport",
    "CompileReport",
    "Math",
    "Network",
    "PortInfo",
    "Profile",
    "check",
    "compile_model",
    "load",
    "profile",
]  # fmt: skip
