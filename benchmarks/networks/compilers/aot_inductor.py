"""A network of the zoo compiled ahead of time by PyTorch's inductor: ``name batch library``; runs in the project's environment.

With its best options: frozen weights, one thread, its templates of C++ matrix products tried against oneDNN's (`max_autotune`).
"""

import sys
import warnings

import torch

from mlcore.benchmarks import zoo

name, batch, library = sys.argv[1:]
warnings.simplefilter("ignore")
torch.set_num_threads(1)
model = zoo.get(name)
arguments = model.arguments(model.example(int(batch)))
options = {"freezing": True, "max_autotune": True, "aot_inductor.output_path": library}
with torch.no_grad():
    exported = torch.export.export(model.module(), arguments)
    torch._inductor.aot_compile(exported.module(), arguments, options=options)
