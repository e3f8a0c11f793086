"""XLA on the CPU, through JAX: the ONNX file as a function, compiled with its weights as constants."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlcore.benchmarks import onnx_jax
from mlcore.benchmarks.arrays import Array
from mlcore.benchmarks.cases import Case
from mlcore.benchmarks.engines._engine import Made, PythonEngine, RefusedError, Session, Site
from mlcore.benchmarks.folding import folded


class Compiled(Session):
    """An ONNX file compiled by XLA.

    The compiled program has the number of inferences as its argument and loops over them itself, so that no inference pays for
    Python or for JAX's dispatch. It gets every input twice and takes them in turn: with inputs that are the same in every step,
    XLA would compute the network once, in front of the loop (it looks through an `optimization_barrier`). Some convolutions are
    slower within a loop, so the network is compiled without it as well, and the faster of the two is used.

    Parameters
    ----------
    model
        An ONNX file of fixed shapes with folded constants.
    inputs
        Arrays by name, in the file's order.
    threads
        That an inference may use; the first call of a process decides.
    """

    def __init__(self, model: Path, inputs: Mapping[str, Array], threads: int = 1) -> None:
        # Read when JAX makes its CPU client, and not later.
        several = "true" if threads > 1 else "false"
        os.environ["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={several} intra_op_parallelism_threads={threads}"
        os.environ["JAX_PLATFORMS"] = "cpu"
        import jax
        import onnx

        start = time.perf_counter()
        loaded = onnx.load(model)
        self._names = [value.name for value in loaded.graph.output]
        compute = onnx_jax.function(loaded, self._names)

        def loop(times: Any, given: Any) -> Any:
            def body(step: Any, _before: Any) -> Any:
                return compute(*(jax.lax.dynamic_index_in_dim(pair, step % 2, keepdims=False) for pair in given))

            shapes = jax.eval_shape(lambda pairs: compute(*(pair[0] for pair in pairs)), given)
            empty = jax.tree.map(lambda shape: jax.numpy.zeros(shape.shape, shape.dtype), shapes)
            return jax.lax.fori_loop(0, times, body, empty)

        # int64 indices become JAX's int32, which counts for XLA.
        self._given = tuple(jax.numpy.asarray(array) for array in inputs.values())
        self._twice = tuple(jax.numpy.stack([array, array]) for array in self._given)
        self._loop = jax.jit(loop).lower(np.int32(1), self._twice).compile()
        self.compile_seconds = self.seconds = time.perf_counter() - start
        self._single = jax.jit(compute).lower(*self._given).compile()
        self._answers: Any = None
        self._looping = self._seconds(self._run_loop) <= self._seconds(self._run_single)

    @staticmethod
    def _seconds(run: Callable[[int], None]) -> float:
        """CPU time of one inference of many."""
        run(1)
        start = time.process_time()
        run(1)
        times = min(max(1, int(0.05 / (time.process_time() - start + 1e-9))), 1000)
        start = time.process_time()
        run(times)
        return (time.process_time() - start) / times

    def _run_loop(self, times: int) -> None:
        self._answers = self._loop(np.int32(times), self._twice)
        for answer in self._answers:
            answer.block_until_ready()

    def _run_single(self, times: int) -> None:
        for _ in range(times):
            self._answers = self._single(*self._given)
            for answer in self._answers:
                answer.block_until_ready()

    def run(self, times: int) -> None:
        """So many inferences, one after the other."""
        (self._run_loop if self._looping else self._run_single)(times)

    def answers(self) -> dict[str, Array]:
        """The outputs of one inference."""
        self.run(1)
        return {name: np.asarray(answer) for name, answer in zip(self._names, self._answers, strict=True)}


class Xla(PythonEngine):
    name = "xla"
    title = "XLA (JAX)"
    module = distribution = "jax"
    requirements = ("jax==0.10.2", "jaxlib==0.10.2", "opt_einsum==3.4.0", "ml_dtypes==0.6.0")
    note = "a loop compiled around the network, where that is the faster way"

    def make(self, case: Case, folder: Path, site: Site) -> Made:
        return Made({"model": str(folded(case.path, folder / "folded.onnx"))})

    def open(self, case: Case, made: Made, threads: int) -> Session:
        try:
            return Compiled(made.path("model"), case.inputs, threads)
        except onnx_jax.UnsupportedOperatorError as error:
            raise RefusedError(str(error)) from error


ENGINE = Xla()
