"""RNN, GRU and LSTM against ONNX Runtime, and where it lacks something, against the definition in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from mlcore.errors import InputError
from mlcore.networks.build import QUICK, BuildOptions, Function, build
from mlcore.networks.compiler import translate
from tests.mlcore.networks.conftest import Array, Case, drawn, hold, node_model

RNG = np.random.default_rng(13)
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
FUNCTIONS: dict[str, Any] = {
    "Tanh": np.tanh,
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Relu": lambda x: np.maximum(x, 0),
    "HardSigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "LeakyRelu": lambda x: np.where(x < 0, 0.01 * x, x),
    "Elu": lambda x: np.where(x < 0, np.expm1(x), x),
    "Softplus": lambda x: np.log1p(np.exp(x)),
}
DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}


@st.composite
def networks(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(sorted(GATES)))
    direction = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    count = 2 if direction == "bidirectional" else 1
    return {
        "kind": kind,
        "direction": direction,
        "steps": draw(st.integers(0, 5)),
        "batch": draw(st.integers(1, 3)),
        "inputs": draw(st.integers(1, 4)),
        "hidden": draw(st.integers(1, 20)),
        "layout": draw(st.integers(0, 1)),
        "bias": draw(st.booleans()),
        "lengths": draw(st.booleans()),
        "states": draw(st.booleans()),
        "peepholes": draw(st.booleans()),
        "clip": draw(st.sampled_from([None, 0.5])),
        "flag": draw(st.integers(0, 1)),
        "activations": draw(st.lists(st.sampled_from(sorted(FUNCTIONS)), min_size=3 * count, max_size=3 * count)),
        "custom": draw(st.booleans()),
        "dtype": np.dtype(draw(st.sampled_from([np.float32, np.float64, np.float16]))),
        "constant": draw(st.booleans()),
        "dynamic": draw(st.booleans()),
    }


def run(
    p: dict[str, Any], x: Array, w: Array, r: Array, b: Array | None, lengths: Array | None, states: list[Any]
) -> list[Array]:
    """The definition, step by step, in float64."""
    kind, hidden, gates = p["kind"], p["hidden"], GATES[p["kind"]]
    peepholes = states.pop() if len(states) > 2 else None
    x = x.astype(np.float64)
    if p["layout"]:
        x = x.transpose(1, 0, 2)
    steps, batch, _ = x.shape
    n_directions = len(w)
    y = np.zeros((steps, n_directions, batch, hidden))
    last = np.zeros((2, n_directions, batch, hidden))
    clip = (lambda z: z) if p["clip"] is None else (lambda z: np.clip(z, -p["clip"], p["clip"]))
    per = len(DEFAULTS[kind])
    names = p["activations"] if p["custom"] else DEFAULTS[kind] * n_directions
    for d in range(n_directions):
        functions = [FUNCTIONS[name] for name in names[d * per : (d + 1) * per]]
        weights, recurrent = (np.split(item[d].astype(np.float64), gates) for item in (w, r))
        both = np.zeros(2 * gates * hidden) if b is None else b[d].astype(np.float64)
        wb, rb = np.split(both[: gates * hidden], gates), np.split(both[gates * hidden :], gates)
        for n in range(batch):
            length = steps if lengths is None else int(lengths[n])
            h, c = (
                np.zeros(hidden) if state is None else (state[n, d] if p["layout"] else state[d, n]).astype(np.float64)
                for state in [*states, None, None][:2]
            )
            backwards = p["direction"] == "reverse" or d == 1
            for t in range(length)[:: -1 if backwards else 1]:
                u = [x[t, n] @ weights[g].T + wb[g] for g in range(gates)]
                v = [h @ recurrent[g].T + rb[g] for g in range(gates)]
                if kind == "RNN":
                    h = functions[0](clip(u[0] + v[0]))
                elif kind == "GRU":
                    f, g = functions
                    z, reset = f(clip(u[0] + v[0])), f(clip(u[1] + v[1]))
                    inner = reset * v[2] if p["flag"] else (reset * h) @ recurrent[2].T + rb[2]
                    h = (1 - z) * g(clip(u[2] + inner)) + z * h
                else:
                    f, g, out = functions
                    pi, po, pf = np.zeros((3, hidden)) if peepholes is None else np.split(peepholes[d].astype(np.float64), 3)
                    i = f(clip(u[0] + v[0] + pi * c))
                    forget = 1 - i if p["flag"] else f(clip(u[2] + v[2] + pf * c))
                    c = forget * c + i * g(clip(u[3] + v[3]))
                    h = f(clip(u[1] + v[1] + po * c)) * out(c)
                y[t, d, n] = h
            last[:, d, n] = h, c
    if p["layout"]:
        y, last = y.transpose(2, 0, 1, 3), last.transpose(0, 2, 1, 3)
    return [item.astype(p["dtype"]) for item in (y, *last[: 2 if kind == "LSTM" else 1])]


def case(p: dict[str, Any]) -> Case:
    kind, hidden, gates = p["kind"], p["hidden"], GATES[p["kind"]]
    count = 2 if p["direction"] == "bidirectional" else 1
    draw = lambda *shape: RNG.uniform(-1, 1, shape).astype(p["dtype"])  # noqa: E731
    w, r = draw(count, gates * hidden, p["inputs"]), draw(count, gates * hidden, hidden)
    b = draw(count, 2 * gates * hidden) if p["bias"] else None
    peepholes = draw(count, 3 * hidden) if kind == "LSTM" and p["peepholes"] else None
    n_states = 2 if kind == "LSTM" else 1
    calls = []
    for more in range(1 + p["dynamic"]):
        steps, batch = p["steps"] + more, p["batch"] + more
        x = draw(*((batch, steps) if p["layout"] else (steps, batch)), p["inputs"])
        lengths = RNG.integers(0, steps + 1, batch).astype(np.int32) if p["lengths"] else None
        shape = (batch, count, hidden) if p["layout"] else (count, batch, hidden)
        states = [draw(*shape) if p["states"] else None for _ in range(n_states)]
        calls.append([x, w, r, b, lengths, *states, *([peepholes] if kind == "LSTM" else [])])
    held = {1, 2, 3, 7} if p["constant"] else set()
    attributes: dict[str, Any] = {"hidden_size": hidden, "direction": p["direction"], "layout": p["layout"]}
    if p["clip"]:
        attributes["clip"] = p["clip"]
    if kind != "RNN":
        attributes["linear_before_reset" if kind == "GRU" else "input_forget"] = p["flag"]
    if p["custom"]:
        attributes["activations"] = p["activations"][: len(DEFAULTS[kind]) * count]
    model = node_model(
        kind,
        calls[0],
        opset=22,
        outputs=[p["dtype"]] * (1 + n_states),
        constants=sorted(held),
        dynamic=p["dynamic"],
        **attributes,
    )
    given = tuple(tuple(item for i, item in enumerate(call) if item is not None and i not in held) for call in calls)

    def expected(*arrays: Array) -> list[Array]:
        rest = list(arrays)
        full = [None if item is None else item if i in held else rest.pop(0) for i, item in enumerate(calls[0])]
        return run(p, full[0], full[1], full[2], full[3], full[4], list(full[5:]))  # type: ignore[arg-type]

    # Roundings pile up over the steps; those of 16 bits are rounded once, at the end.
    tolerance = {np.dtype(np.float32): 2e-5, np.dtype(np.float64): 1e-12, np.dtype(np.float16): 2e-3}[p["dtype"]]
    return Case(model, given, tolerance, tolerance, expected)


def test_networks_of_every_kind() -> None:
    hold([case(p) for p in drawn(networks(), 30)])


def test_the_last_state_alone() -> None:
    x = RNG.standard_normal((4, 2, 3)).astype(np.float32)
    w, r = (RNG.standard_normal((1, 20, size)).astype(np.float32) for size in (3, 5))
    p = {"kind": "LSTM", "hidden": 5, "layout": 0, "clip": None, "custom": False, "flag": 0, "direction": "forward"}
    model = node_model("LSTM", [x, w, r], opset=14, outputs=[None, np.float32], constants=(1, 2), hidden_size=5)
    hold([Case(model, ((x,),), 2e-5, 2e-5, lambda x: run(p | {"dtype": np.float32}, x, w, r, None, None, [])[1:2])])


def test_lengths_beyond_the_steps_are_refused() -> None:
    x, w, r = (np.ones(shape, np.float32) for shape in ((3, 2, 2), (1, 4, 2), (1, 4, 4)))
    emitted = translate(
        node_model("RNN", [x, w, r, None, np.array([3, 1], np.int32)], opset=14, constants=(1, 2), hidden_size=4), "lengths"
    )
    library, _ = build([emitted], BuildOptions(flags=QUICK))
    function = Function(library, emitted)
    for lengths in ([4, 0], [-1, 0]):
        with pytest.raises(InputError, match="length"):
            function([x, np.array(lengths, np.int32)])


@pytest.mark.parametrize(
    ("shapes", "attributes", "message"),
    [
        ([(3, 2, 2), (1, 4, 2), (1, 4, 3)], {"hidden_size": 4}, "R of the shape"),
        ([(3, 2, 2), (1, 5, 2), (1, 5, 4)], {"hidden_size": 4}, "W of the shape"),
        ([(3, 2, 2), (1, 4, 2), (1, 4, 4)], {"hidden_size": 4, "direction": "bidirectional"}, "W of the shape"),
        ([(3, 2, 2), (1, 4, 2), (1, 4, 4)], {"hidden_size": 4, "direction": "up"}, "direction"),
        ([(3, 2, 2), (1, 4, 2), (1, 4, 4)], {"hidden_size": 4, "activations": ["Cosine"]}, "Cosine"),
        ([(3, 2, 2), (1, 4, 2), (1, 4, 4)], {"hidden_size": 4, "clip": -1.0}, "clips at"),
        ([(3, 2), (1, 4, 2), (1, 4, 4)], {"hidden_size": 4}, "applies weights"),
    ],
)
def test_contradictions_are_told(shapes: list[tuple[int, ...]], attributes: dict[str, Any], message: str) -> None:
    model = node_model("RNN", [np.ones(shape, np.float32) for shape in shapes], opset=14, **attributes)
    with pytest.raises(InputError, match=message):
        translate(model, "wrong")
