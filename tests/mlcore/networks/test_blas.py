"""Code that leaves large matrix products to a library: OpenBLAS and oneDNN as wheels have them, and one that counts its calls."""

from __future__ import annotations

import ctypes
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from mlcore import networks
from mlcore.errors import InputError, ToolchainError
from mlcore.networks.blas import Blas, find_library
from mlcore.networks.build import INCLUDE, QUICK, BuildOptions, Function, build, translation_unit
from mlcore.networks.compiler import translate
from mlcore.networks.emit.cpp import Emitted
from tests.mlcore.networks.models import mlp, mlp_answer, model
from tests.mlcore.networks.passes.test_equivalence import BASE, NETWORKS, exported

RNG = np.random.default_rng(5)
ALL = ("-DML4EP_LIBRARY_WORK=1", "-DML4EP_LIBRARY_ROWS=1")
"""Every product is large."""

COUNTING = """
#include <cstdint>
using I = std::int64_t;
static I calls;
extern "C" I counted() { return calls; }
template <class T>
static void product(I m, I n, I k, const T* a, I lda, const T* b, I ldb, T* c, I ldc) {
  ++calls;
  for (I i = 0; i < m; ++i) for (I j = 0; j < n; ++j) {
    T sum = 0;
    for (I l = 0; l < k; ++l) sum += a[i * lda + l] * b[l * ldb + j];
    c[i * ldc + j] = sum;
  }
}
extern "C" int dnnl_sgemm(char, char, I m, I n, I k, float, const float* a, I lda, const float* b, I ldb, float,
                          float* c, I ldc) {
  product(m, n, k, a, lda, b, ldb, c, ldc);
  return m == 13 ? 1 : 0;
}
// As BLAS counts: the product of the transposes, here with 64-bit sizes.
#define GEMM(name, T) extern "C" void name(const char*, const char*, const I* m, const I* n, const I* k, const T*, const T* a, \\
    const I* lda, const T* b, const I* ldb, const T*, T* c, const I* ldc) { product(*n, *m, *k, b, *ldb, a, *lda, c, *ldc); }
GEMM(my_sgemm64, float)
GEMM(my_dgemm64, double)
"""


def has(blas: Blas) -> bool:
    try:
        find_library(blas)
    except ToolchainError:
        return False
    return True


LIBRARIES = [
    pytest.param("openblas", marks=pytest.mark.skipif(not has("openblas"), reason="scipy-openblas32 is not installed")),
    pytest.param("onednn", marks=pytest.mark.skipif(not has("onednn"), reason="onednn-cpu-gomp has no wheel for this machine")),
]


def deep(dtype: int = TensorProto.FLOAT, *, batch: int | str = "batch") -> tuple[onnx.ModelProto, list[np.ndarray]]:
    """Layers of 7, 33 (one column in the last block), 20 and 19 (narrow with many rows) columns, tanh between them."""
    sizes, kind = (7, 33, 20, 19), helper.tensor_dtype_to_np_dtype(dtype)
    weights = [RNG.standard_normal((k, n)).astype(kind) / np.sqrt(k).astype(kind) for k, n in pairwise(sizes)]
    nodes, last = [], "x"
    for i in range(len(weights)):
        nodes += [helper.make_node("MatMul", [last, f"w{i}"], [f"m{i}"]), helper.make_node("Tanh", [f"m{i}"], [f"y{i}"])]
        last = f"y{i}"
    constants = {f"w{i}": item for i, item in enumerate(weights)}
    return model(nodes, {"x": (dtype, [batch, sizes[0]])}, {last: dtype}, constants), weights


def deep_answer(weights: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    y = x.astype(np.float64)
    for item in weights:
        y = np.tanh(y @ item.astype(np.float64))
    return y


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("counting")
    (folder / "counting.cpp").write_text(COUNTING)
    library = folder / "libcounting.so"
    subprocess.run(["g++", "-O1", "-shared", "-fPIC", folder / "counting.cpp", "-o", library], check=True)
    return library


def built_with(counting: Path, code: list[Emitted], *flags: str) -> Path:
    """A library of some networks, linked to the one that counts."""
    source, library = counting.parent / f"{code[0].name}.cpp", counting.parent / f"{code[0].name}.so"
    source.write_text(translation_unit(code))
    linked = [counting, f"-Wl,-rpath,{counting.parent}"]
    subprocess.run(["g++", *QUICK, *flags, f"-I{INCLUDE}", "-shared", "-fPIC", source, *linked, "-o", library], check=True)
    return library


@pytest.mark.parametrize("batch", ["batch", 40])
def test_what_is_large_goes_to_the_library_and_nothing_else(counting: Path, batch: int | str) -> None:
    proto, weights = deep(batch=batch)
    counted = ctypes.CDLL(str(counting)).counted
    counted.restype = ctypes.c_int64
    emitted = translate(proto, f"deep_{batch}")
    # 40 rows of 33 x 20 are 26 400 multiplications, those of 7 x 33 are 9 240.
    function = Function(built_with(counting, [emitted], "-DML4EP_ONEDNN", "-DML4EP_LIBRARY_WORK=20000"), emitted)
    for rows, calls in ((40, 1), (31, 0)) if batch == "batch" else ((40, 1),):
        x, before = RNG.standard_normal((rows, 7)).astype(np.float32), counted()
        np.testing.assert_allclose(function([x])[0], deep_answer(weights, x), atol=2e-6)
        assert counted() - before == calls


def test_names_and_sizes_of_a_blas_are_the_compilers_options(counting: Path) -> None:
    counted = ctypes.CDLL(str(counting)).counted
    counted.restype = ctypes.c_int64
    options = ("-DML4EP_BLAS", "-DML4EP_BLAS_PREFIX=my_", "-DML4EP_BLAS_SUFFIX=64", "-DML4EP_BLAS_INT=std::int64_t", *ALL)
    cases = [deep(TensorProto.FLOAT), deep(TensorProto.DOUBLE)]
    code = [translate(proto, f"named_{i}") for i, (proto, _) in enumerate(cases)]
    library = built_with(counting, code, *options)
    for emitted, (_, weights), tolerance in zip(code, cases, (2e-6, 1e-13), strict=True):
        x, before = RNG.standard_normal((300, 7)).astype(weights[0].dtype), counted()
        np.testing.assert_allclose(Function(library, emitted)([x])[0], deep_answer(weights, x), atol=tolerance)
        assert counted() - before >= 3


def test_what_the_library_refuses_is_an_error_of_the_call(counting: Path) -> None:
    proto, _ = deep()
    emitted = translate(proto, "refused")
    function = Function(built_with(counting, [emitted], "-DML4EP_ONEDNN", *ALL), emitted)
    function([np.zeros((12, 7), np.float32)])
    with pytest.raises(InputError, match="oneDNN refuses"):
        function([np.zeros((13, 7), np.float32)])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("blas", LIBRARIES)
def test_networks_answer_as_with_their_own_kernels(blas: Blas, tmp_path: Path) -> None:
    """Convolutions of all kinds, minimal filtering, products of edges; an LSTM; float64, which oneDNN has not.

    Tolerance: float32 sums of up to 200 terms of size 1 in other orders.
    """
    torch.manual_seed(5)
    emitted, expected = [], []
    for number, (name, (kind, shape, dynamic, calls)) in enumerate(NETWORKS.items()):
        module = kind().eval()
        emitted.append(translate(exported(module, shape, dynamic, tmp_path / f"{number}.onnx"), f"n{number}"))
        inputs = [RNG.standard_normal(call).astype(np.float32) for call in calls]
        with torch.no_grad():
            expected.append((name, inputs, [module(torch.from_numpy(x)).numpy() for x in inputs]))
    lstm = torch.nn.LSTM(5, 12, bidirectional=True).eval()
    emitted.append(translate(lstm, "lstm", shapes={"input": (9, 3, 5)}))
    x = RNG.standard_normal((9, 3, 5)).astype(np.float32)
    with torch.no_grad():
        expected.append(("LSTM", [x], [lstm(torch.from_numpy(x))[0].numpy()]))
    proto, weights = deep(TensorProto.DOUBLE)
    emitted.append(translate(proto, "float64"))
    x = RNG.standard_normal((50, 7))
    expected.append(("float64", [x], [deep_answer(weights, x)]))
    library, _ = build(emitted, BuildOptions(flags=(*BASE, *ALL), blas=blas))
    undefined = subprocess.run(["nm", "-D", "--undefined-only", library], capture_output=True, text=True, check=True).stdout
    assert {"openblas": "sgemm_", "onednn": "dnnl_sgemm"}[blas] in undefined
    for item, (name, inputs, answers) in zip(emitted, expected, strict=True):
        function = Function(library, item)
        for given, answer in zip(inputs, answers, strict=True):
            np.testing.assert_allclose(function([given])[0], answer, rtol=1e-4, atol=2e-5, err_msg=name)


def test_without_an_option_nothing_is_linked() -> None:
    emitted = translate(mlp(), "alone")
    library, _ = build([emitted], BuildOptions(flags=QUICK))
    undefined = subprocess.run(["nm", "-D", "--undefined-only", library], capture_output=True, text=True, check=True).stdout
    assert "gemm" not in undefined


@pytest.mark.parametrize("blas", LIBRARIES)
def test_the_project_has_options_for_both(blas: Blas, tmp_path: Path) -> None:
    """The CMake project with the library: its self-test passes, and the program is linked to the library."""
    report = networks.compile_model(mlp(width=64), tmp_path, name="tiny", flags=(*QUICK, *ALL), blas=blas)
    assert any(flag in report.flags for flag in ("-DML4EP_BLAS", "-DML4EP_ONEDNN"))
    library = find_library(blas)
    assert library is not None
    options = {
        "openblas": ["-DML4EP_BLAS=ON", f"-DBLAS_LIBRARIES={library.path}", "-DML4EP_BLAS_PREFIX=scipy_"],
        "onednn": ["-DML4EP_ONEDNN=ON", f"-DCMAKE_PREFIX_PATH={library.path.parents[1]}"],
    }[blas]
    if "-DML4EP_BLAS_PREFIX=scipy_" not in library.defines and blas == "openblas":
        options.pop()
    build_folder = tmp_path / "build"
    for command in (
        [
            "cmake",
            "-S",
            report.folder,
            "-B",
            build_folder,
            *options,
            f"-DCMAKE_CXX_FLAGS={' '.join(ALL)}",
            "-DCMAKE_BUILD_TYPE=Debug",
        ],
        ["cmake", "--build", build_folder, "--target", "tiny_selftest"],
        [build_folder / "tiny_selftest"],
    ):
        done = subprocess.run(command, cwd=report.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    linked = subprocess.run(["ldd", build_folder / "tiny_selftest"], capture_output=True, text=True, check=True).stdout
    assert library.path.name in linked


@pytest.mark.skipif(not has("openblas"), reason="scipy-openblas32 is not installed")
def test_a_call_in_a_child_uses_the_library_too() -> None:
    network = networks.load(mlp(width=64), options=BuildOptions(flags=(*QUICK, *ALL), blas="openblas"), isolate=True)
    x = RNG.standard_normal((40, 8)).astype(np.float32)
    np.testing.assert_allclose(network.run({"x": x})["y"], mlp_answer(mlp(width=64), x), atol=1e-5)
    network.close()


def test_a_library_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match=r"no libdnnl\.so") as caught:
        find_library("onednn", folders=(tmp_path,))
    assert "pip install onednn-cpu-gomp" in caught.value.hint
    (tmp_path / "libopenblas.so").touch()
    found = find_library("openblas", folders=(tmp_path,))
    assert found is not None
    assert found.defines == ("-DML4EP_BLAS",)
    assert find_library("none") is None
