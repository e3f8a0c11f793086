"""Fourier transforms against NumPy's in double precision, frame by frame for STFT; mel filters against ONNX's evaluator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from mlcore.errors import InputError
from mlcore.networks.build import QUICK, BuildOptions, Function, build
from mlcore.networks.compiler import translate
from tests.mlcore.networks.conftest import Array, Case, hold, node_model

LENGTHS = [*range(1, 27), 31, 37, 60, 64, 97, 121, 128, 343, 529, 997, 1000, 1024, 2310, 4099]
"""Powers of all small primes, products of them, and primes that need the convolution."""


def parts(x: Array) -> Array:
    """Complex numbers as ONNX has them."""
    return np.stack([x.real, x.imag], -1)


def complexes(x: Array) -> Array:
    x = x.astype(np.float64)
    return x[..., 0] + 1j * x[..., 1] if x.shape[-1] == 2 else x[..., 0] + 0j


def transformed(x: Array, n: int | None, axis: int, inverse: bool, half: bool) -> Array:
    """What ONNX's definition says, in double precision."""
    data = complexes(x)
    if inverse and half:
        return np.fft.irfft(data, n, axis=axis)[..., None]
    found = (np.fft.ifft if inverse else np.fft.fft)(data, n, axis=axis)
    if half:
        found = np.take(found, range(found.shape[axis] // 2 + 1), axis)
    return parts(found)


def model(
    x: Array, *, inverse: int = 0, onesided: int = 0, axis: int | None = None, length: bool = False, opset: int = 20
) -> Any:
    inputs: list[Any] = [x, np.array(1) if length else None]
    attributes = {"inverse": inverse, "onesided": onesided}
    constants = []
    if axis is not None and opset >= 20:
        inputs.append(np.array(axis))
        constants = [2]
    elif axis is not None:
        attributes["axis"] = axis
    made = node_model("DFT", inputs, opset=opset, outputs=[x.dtype], dynamic=True, constants=constants, **attributes)
    # Whether numbers are real or complex is known.
    made.graph.input[0].type.tensor_type.shape.dim[x.ndim - 1].dim_value = x.shape[-1]
    return made


@pytest.mark.parametrize(("dtype", "epsilon"), [(np.float32, 1.2e-7), (np.float64, 2.3e-16)])
def test_every_length(dtype: Any, epsilon: float) -> None:
    rng = np.random.default_rng(5)
    kinds = [(inverse, half, size) for inverse in (0, 1) for half in (0, 1) for size in (1, 2)]
    emitted = [
        translate(model(np.zeros((1, 1, size), dtype), inverse=inverse, onesided=half), f"f{i}")
        for i, (inverse, half, size) in enumerate(kinds)
    ]
    library, _ = build(emitted, BuildOptions(flags=QUICK))
    for (inverse, half, size), item in zip(kinds, emitted, strict=True):
        function = Function(library, item)
        for n in LENGTHS:
            if inverse and half and n < 2:
                continue
            x = rng.standard_normal((2, n, size)).astype(dtype)
            (found,) = function([x])
            wanted = transformed(x, None, -1, bool(inverse), bool(half))
            assert found.shape == wanted.shape
            # Each pass rounds once or twice, a chirp goes through three transforms of up to four times the length: errors in the
            # norm stay below some tens of roundings, here of the norm that all elements share.
            error = np.linalg.norm(found.astype(np.float64) - wanted)
            assert error <= 30 * epsilon * np.linalg.norm(wanted) + epsilon, (n, inverse, half, size)
            if size == 1 and not inverse:
                spectrum = found[..., 0] + 1j * found[..., 1]
                assert np.all(spectrum[:, 0].imag == 0)
                if not half and n > 1:
                    np.testing.assert_array_equal(spectrum[:, 1:], spectrum[:, :0:-1].conj())


def test_axes_and_lengths() -> None:
    rng = np.random.default_rng(6)
    cases = []
    for axis in (0, 1, 2, -2, -4):
        for half in (0, 1):
            for inverse in (0, 1):
                x = rng.standard_normal((3, 4, 5, 2)).astype(np.float32)

                def expected(x: Array, n: Any = None, axis: int = axis, half: int = half, inverse: int = inverse) -> list[Array]:
                    at = axis if axis >= 0 else axis + 4
                    return [transformed(x, None if n is None else int(n), at, bool(inverse), bool(half)).astype(x.dtype)]

                opset = 17 if axis == 1 else 20
                plain = model(x, inverse=inverse, onesided=half, axis=axis, opset=opset)
                cases.append(Case(plain, ((x,), (x[:2, :3, :4],)), 1e-5, 1e-5, expected))
                given = model(x, inverse=inverse, onesided=half, axis=axis, opset=opset, length=True)
                calls = tuple((x, np.array(n)) for n in (1, 2, 4, 7))
                cases.append(Case(given, calls, 1e-5, 1e-5, expected))
    # Eight terms of order one at most: errors of a few roundings of float32.
    hold(cases)


def test_an_axis_that_is_computed() -> None:
    x = np.random.default_rng(7).standard_normal((2, 3, 4, 1)).astype(np.float32)
    made = node_model("DFT", [x, None, np.array(1)], opset=20)

    def expected(x: Array, axis: Array) -> list[Array]:
        return [transformed(x, None, int(axis) % 4, False, False).astype(np.float32)]

    calls = tuple((x, np.array(axis)) for axis in (0, 1, 2, -2, -3))
    hold([Case(made, calls, 1e-5, 1e-5, expected)])
    emitted = translate(made, "f")
    library, _ = build([emitted], BuildOptions(flags=QUICK))
    for axis in (3, -1, 4, -5):
        with pytest.raises(InputError, match="DFT names"):
            Function(library, emitted)([x, np.array(axis)])


def test_small_floats() -> None:
    x = np.random.default_rng(8).standard_normal((2, 12, 1)).astype(np.float16)
    made = node_model("DFT", [x, None], opset=20, outputs=[np.float16])
    # One rounding to float16 of what is computed in float32.
    hold([Case(made, ((x,),), 1e-3, 1e-3, lambda x: [transformed(x, None, 1, False, False).astype(np.float16)])])


def frames(x: Array, step: int, window: Array, half: bool) -> Array:
    data, size = complexes(x), len(window)
    count = max((data.shape[1] - size) // step + 1, 0)
    cut = [data[:, i * step : i * step + size] * window for i in range(count)]
    found = np.fft.fft(np.stack(cut, 1) if cut else np.zeros((len(data), 0, size)), axis=-1)
    return parts(found[..., : size // 2 + 1] if half else found)


@pytest.mark.parametrize("known", [True, False])
def test_frames(known: bool) -> None:
    rng = np.random.default_rng(9)
    cases = []
    for size in (1, 2):
        for half in (0, 1):
            for windowed in (False, True):
                signal = rng.standard_normal((2, 23, size)).astype(np.float32)
                window = rng.uniform(0.5, 1, 6).astype(np.float32)
                inputs = [signal, np.array(4), window if windowed else None, np.array(6)]
                made = node_model(
                    "STFT", inputs, opset=17, dynamic=True, constants=[1, 3] if known else [], fixed=[2], onesided=half
                )
                made.graph.input[0].type.tensor_type.shape.dim[2].dim_value = size

                def expected(x: Array, *rest: Array, windowed: bool = windowed, half: int = half) -> list[Array]:
                    scalars = [int(item) for item in rest if item.ndim == 0]
                    step, length = scalars or [4, 6]
                    weights = next((item for item in rest if item.ndim == 1), np.ones(length))
                    return [frames(x, step, weights, bool(half)).astype(np.float32)]

                calls = []
                for n, step, length in ((23, 4, 6), (6, 4, 6), (5, 4, 6), (12, 1, 6), (9, 20, 6), (9, 3, 5)):
                    if (known and (step, length) != (4, 6)) or (windowed and length != 6):
                        continue
                    call = [signal[:, :n]]
                    call += [] if known else [np.array(step)]
                    call += [window] if windowed else []
                    call += [] if known else [np.array(length)]
                    calls.append(tuple(call))
                cases.append(Case(made, tuple(calls), 1e-5, 1e-5, expected))
    hold(cases)


def test_the_window_tells_the_length_of_frames() -> None:
    x = np.random.default_rng(10).standard_normal((1, 16, 1)).astype(np.float32)
    window = np.hanning(8).astype(np.float32)
    with_window = node_model("STFT", [x, np.array(2), window], opset=17, constants=[1, 2])
    whole = node_model("STFT", [x, np.array(2)], opset=17, constants=[1])
    hold(
        [
            Case(with_window, ((x,),), 1e-5, 1e-5, lambda x: [frames(x, 2, window, True).astype(np.float32)]),
            Case(whole, ((x,),), 1e-5, 1e-5, lambda x: [frames(x, 2, np.ones(16), True).astype(np.float32)]),
        ]
    )


def test_mel_filters() -> None:
    cases = []
    for bands, length, rate, low, high, dtype in (
        (8, 16, 8192, 0.0, 4096.0, np.float32),
        (20, 512, 16000, 64.5, 7600.0, np.float64),
        (3, 10, 8000, 300.0, 301.0, np.float32),
        (5, 64, 8000, 0.0, 3000.0, np.int32),
    ):
        inputs = [np.array(bands), np.array(length), np.array(rate), np.float32(low), np.float32(high)]
        inputs = [np.asarray(item) for item in inputs]
        number = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        for constants in ((0, 1), ()):
            made = node_model("MelWeightMatrix", inputs, opset=17, outputs=[dtype], constants=constants, output_datatype=number)
            call = tuple(item for i, item in enumerate(inputs) if i not in constants)
            whole = node_model("MelWeightMatrix", inputs, opset=17, outputs=[dtype], output_datatype=number)
            everything = Case(whole, ()).answers(tuple(inputs))
            cases.append(Case(made, (call,), 1e-6, 0, lambda *_, everything=everything: everything))
    hold(cases)


def test_windows_of_a_computed_length() -> None:
    nodes = [helper.make_node(kind, ["n"], [kind], periodic=periodic) for kind, periodic in WINDOWS]
    outputs = [helper.make_tensor_value_info(kind, 1, None) for kind, _ in WINDOWS]
    graph = helper.make_graph(nodes, "windows", [helper.make_tensor_value_info("n", 7, [])], outputs)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    # The definition rounds pi and the ratio to float32.
    hold([Case(made, ((np.array(10),), (np.array(3),)), 1e-5, 1e-6)])


WINDOWS = [("HannWindow", 1), ("HammingWindow", 0), ("BlackmanWindow", 1)]


def test_bad_requests() -> None:
    x = np.zeros((2, 5, 3), np.float32)
    with pytest.raises(InputError, match="last axis of 1"):
        translate(node_model("DFT", [x], opset=20), "wrong")
    with pytest.raises(InputError, match="real and imaginary parts"):
        translate(model(x[..., :2], axis=2), "wrong")
    with pytest.raises(InputError, match="floating-point"):
        translate(node_model("DFT", [x[..., :1].astype(np.int32)], opset=20, outputs=[np.int32]), "wrong")
    with pytest.raises(InputError, match="transforms 0 samples"):
        translate(node_model("DFT", [x[..., :1], np.array(0)], opset=20, constants=[1]), "wrong")
    signal = x[..., :1]
    with pytest.raises(InputError, match="steps of 0"):
        translate(node_model("STFT", [signal, np.array(0), None, np.array(2)], opset=17, constants=[1, 3]), "wrong")
    window = np.ones(3, np.float32)
    with pytest.raises(InputError, match="window of the length"):
        translate(node_model("STFT", [signal, np.array(1), window, np.array(2)], opset=17, constants=[1, 3]), "wrong")
    late = [
        node_model("DFT", [signal, np.array(1)], opset=20),
        node_model("STFT", [signal, np.array(1), None, np.array(2)], opset=17),
        node_model("MelWeightMatrix", [np.array(8), np.array(16), np.array(100), *[np.array(0, np.float32)] * 2], opset=17),
    ]
    emitted = [translate(item, f"late{i}") for i, item in enumerate(late)]
    library, _ = build(emitted, BuildOptions(flags=QUICK))
    dft, stft, mel = (Function(library, item) for item in emitted)
    for n in (0, -3, 2**62):
        with pytest.raises(InputError, match=r"samples|memory"):
            dft([signal, np.array(n)])
    for step, length in ((0, 2), (1, 0), (-1, 2)):
        with pytest.raises(InputError, match=r"frames of no length|no samples"):
            stft([signal, np.array(step), np.array(length)])
    edges = [np.array(0, np.float32), np.array(90, np.float32)]
    with pytest.raises(InputError, match="above half"):
        mel([np.array(8), np.array(16), np.array(100), *edges])
    with pytest.raises(InputError, match="negative number"):
        mel([np.array(-8), np.array(16), np.array(100), *edges])
