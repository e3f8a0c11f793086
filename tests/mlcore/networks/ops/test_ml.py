"""ai.onnx.ml against ONNX's evaluator, ONNX Runtime where that says the same, and the definitions where neither does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from mlcore.errors import InputError, UnsupportedOperatorError
from mlcore.networks.build import QUICK, BuildOptions, Function, build
from mlcore.networks.compiler import translate
from tests.mlcore.networks.conftest import Array, Case, hold

RNG = np.random.default_rng(11)
DOMAIN = "ai.onnx.ml"


def model(kind: str, inputs: list[Array], outputs: list[Any], version: int = 1, **attributes: Any) -> Any:
    """A model of one node whose first sizes are given with each call."""
    names = [f"x{i}" for i in range(len(inputs))]
    node = helper.make_node(kind, names, [f"y{i}" for i in range(len(outputs))], domain=DOMAIN, **attributes)
    ports = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype), ["n", *array.shape[1:]] if array.ndim else []
        )
        for name, array in zip(names, inputs, strict=True)
    ]
    results = [
        helper.make_tensor_value_info(f"y{i}", helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), None)
        for i, dtype in enumerate(outputs)
    ]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, version)]
    return helper.make_model(helper.make_graph([node], kind, ports, results), opset_imports=opsets, ir_version=8)


def runtime(made: Any) -> Any:
    """ONNX Runtime as the oracle of a model."""
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda *call: session.run(None, {item.name: array for item, array in zip(session.get_inputs(), call, strict=True)})


def texts(*items: str) -> Array:
    result = np.empty(len(items), object)
    result[:] = items
    return result


# Categories.


def test_labels() -> None:
    words, numbers = texts("b", "zz", "a", "é", ""), np.array([3, -1, 7, 2**40])
    floats = np.array([1.5, -0.0, np.nan, 9], np.float32)
    cases = []

    def add(x: Array, wanted: list[Any], dtype: Any, version: int, **attributes: Any) -> None:
        expected = np.array(wanted, dtype)
        made = model("LabelEncoder", [x], [dtype], version, **attributes)
        cases.append(Case(made, ((x,), (x[:1],), (x[:0],)), 0, 0, lambda y, expected=expected: [expected[: len(y)]]))

    add(words, [1, -1, 0, 2, -1], np.int64, 1, classes_strings=["a", "b", "é"])
    add(np.array([1, 0, 5, -1]), ["b", "a", "?", "?"], object, 1, classes_strings=["a", "b"], default_string="?")
    add(words, [5, -7, 4, 6, -7], np.int64, 2, keys_strings=["a", "b", "é"], values_int64s=[4, 5, 6], default_int64=-7)
    add(words, [0.5, -0.0, 1.5, -0.0, 2.5], np.float32, 2, keys_strings=["b", "a", ""], values_floats=[0.5, 1.5, 2.5])
    add(numbers, ["x", "_Unused", "_Unused", "y"], object, 2, keys_int64s=[2**40, 3], values_strings=["y", "x"])
    add(floats, [1, 2, 3, -1], np.int64, 2, keys_floats=[1.5, 0.0, float("nan")], values_int64s=[1, 2, 3])
    tensor = helper.make_tensor
    add(
        np.array([0.1, 0.2, 7.0]), [1, -5, 2], np.int16, 4,
        keys_tensor=tensor("k", 11, [2], [0.1, 7.0]), values_tensor=tensor("v", 5, [2], [1, 2]),
        default_tensor=tensor("d", 5, [1], [-5]),
    )  # fmt: skip
    add(
        np.array([4, 5], np.int32), ["p", "q"], object, 4,
        keys_tensor=tensor("k", 6, [1], [4]), values_tensor=tensor("v", 8, [1], [b"p"]),
        default_tensor=tensor("d", 8, [1], [b"q"]),
    )  # fmt: skip
    for x, wanted, dtype in ((words, [12, -3, 11, -3, -3], np.int64), (np.array([11, 4]), ["a", "none"], object)):
        made = model(
            "CategoryMapper", [x], [dtype], cats_strings=["a", "b"], cats_int64s=[11, 12], default_int64=-3, default_string="none"
        )
        expected = np.array(wanted, dtype)
        cases.append(Case(made, ((x,),), 0, 0, lambda _, expected=expected: [expected]))
    hold(cases)


def test_one_hot() -> None:
    words, numbers = texts("b", "c", "a"), np.array([[2, 5], [9, 2]])
    places = lambda _: [np.eye(3, dtype=np.float32)[[[1, 2], [0, 1]]]]  # noqa: E731
    cases = [
        Case(
            model("OneHotEncoder", [words], [np.float32], cats_strings=["a", "b"]), ((words,),), 0, 0,
            lambda _: [np.array([[0, 1], [0, 0], [1, 0]], np.float32)],
        ),
        Case(model("OneHotEncoder", [numbers], [np.float32], cats_int64s=[9, 2, 5]), ((numbers,),), 0, 0, places),
        # Floating-point numbers are cut to whole ones.
        Case(model("OneHotEncoder", [numbers * 1.0], [np.float32], cats_int64s=[9, 2, 5]), ((numbers + 0.5,),), 0, 0, places),
    ]  # fmt: skip
    hold(cases)
    emitted = translate(model("OneHotEncoder", [words], [np.float32], cats_strings=["a", "b"], zeros=0), "f")
    library, _ = build([emitted], BuildOptions(flags=QUICK))
    with pytest.raises(InputError, match="has not"):
        Function(library, emitted)([words])


# Features.


def test_scaling() -> None:
    cases = []
    for dtype in (np.float32, np.float64, np.int32, np.int64):
        x = (RNG.standard_normal((5, 3)) * 4).astype(dtype)
        x[0] = 0
        calls = ((x,), (x[:1],), (x[:0],))
        for attributes in ({"offset": [1.0, 2.0, 3.0], "scale": [0.5]}, {"offset": [0.5], "scale": [1.0, 2.0, -1.0]}):
            # One rounding of the difference, one of the product.
            made = model("Scaler", [x], [np.float32], **attributes)

            def scaled(x: Array, a: Any = attributes) -> list[Array]:
                return [((x - np.array(a["offset"])) * np.array(a["scale"])).astype(np.float32)]

            cases.append(Case(made, calls, 1e-6, 1e-6, scaled))
        for norm, function in (("MAX", np.inf), ("L1", 1), ("L2", 2)):

            def expected(x: Array, order: Any = function) -> list[Array]:
                size = np.linalg.norm(x.astype(np.float64), order, axis=1, keepdims=True) if x.size else np.ones((len(x), 1))
                return [(x / np.where(size == 0, 1, size)).astype(np.float32)]

            cases.append(Case(model("Normalizer", [x], [np.float32], norm=norm), calls, 1e-6, 1e-6, expected))
        cases.append(Case(model("Binarizer", [x], [dtype], threshold=0.5), calls, 0, 0, lambda x: [(x > 0.5).astype(x.dtype)]))
    hold(cases)


def test_missing_values() -> None:
    x = np.array([[1, np.nan, 3], [np.nan, 2, 1]], np.float32)
    cases = [
        Case(
            model("Imputer", [x], [np.float32], imputed_value_floats=[7.0, 8.0, 9.0], replaced_value_float=float("nan")),
            ((x,),),
            0,
            0,
        ),
        Case(model("Imputer", [x], [np.float32], imputed_value_floats=[7.0], replaced_value_float=1.0), ((x,),), 0, 0),
    ]
    whole = np.array([[0, 5], [-1, 0]])
    for dtype in (np.int64, np.int32):
        made = model("Imputer", [whole.astype(dtype)], [dtype], imputed_value_int64s=[4, 6], replaced_value_int64=0)
        cases.append(Case(made, ((whole.astype(dtype),),), 0, 0, lambda x: [np.where(x == 0, [4, 6], x).astype(x.dtype)]))
    hold(cases)


def test_features_side_by_side() -> None:
    x, z = RNG.standard_normal((3, 2)).astype(np.float32), RNG.standard_normal((3, 4)).astype(np.float32)
    made = model("FeatureVectorizer", [x, z], [np.float32], inputdimensions=[3, 2])
    wanted = lambda x, z: [np.concatenate([x, np.zeros((len(x), 1)), z[:, :2]], 1).astype(np.float32)]  # noqa: E731
    hold([Case(made, ((x, z), (x[:1], z[:1])), 0, 0, wanted)])


# Models.

POSTS = ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT")


def test_linear_models() -> None:
    cases = []
    for dtype in (np.float32, np.float64, np.int64):
        x = (RNG.standard_normal((6, 3)) * 2).astype(dtype)
        weights, intercepts = RNG.standard_normal((4, 3)), RNG.standard_normal(4)
        calls = ((x,), (x[:2],))
        for post in POSTS[:4]:
            attributes = {"coefficients": weights.ravel().tolist(), "intercepts": intercepts.tolist(), "post_transform": post}
            classes = model("LinearClassifier", [x], [np.int64, np.float32], classlabels_ints=[5, 6, 7, 8], **attributes)
            # Sums of a few products in float32, through an exponential.
            cases.append(Case(classes, calls, 1e-5, 1e-5, lambda x, made=classes: _as_declared(made, x)))
            named = model("LinearClassifier", [x], [object, np.float32], classlabels_strings=["a", "b", "c", "d"], **attributes)
            cases.append(Case(named, calls, 1e-5, 1e-5, lambda x, made=named: _as_declared(made, x)))
            two = {"coefficients": weights[0].tolist(), "intercepts": [0.25], "post_transform": post, "classlabels_ints": [5, 6]}
            pair = model("LinearClassifier", [x], [np.int64, np.float32], **two)
            cases.append(Case(pair, calls, 1e-5, 1e-5, lambda x, made=pair: _as_declared(made, x)))
        made = model(
            "LinearRegressor", [x], [np.float32], coefficients=weights[:2].ravel().tolist(), intercepts=[1.0, 2.0], targets=2
        )
        cases.append(Case(made, calls, 1e-5, 1e-5, lambda x, w=weights: [(x @ w[:2].T + [1, 2]).astype(np.float32)]))
        plain = model("LinearRegressor", [x], [np.float32], coefficients=weights[2].tolist())
        cases.append(Case(plain, calls, 1e-5, 1e-5, lambda x, w=weights: [(x @ w[2:3].T).astype(np.float32)]))
    hold(cases)


def _as_declared(made: Any, *call: Array) -> list[Array]:
    """What ONNX's evaluator says, with the element types of the definition, of which it makes the input's."""
    found = Case(made, ()).answers(call)
    return [item if item.dtype.kind in "OUi" else item.astype(np.float32) for item in found]


def support_vectors(kernel: str, n_classes: int, *, probabilities: bool, post: str) -> dict[str, Any]:
    counts = [2, 3, 2][:n_classes]
    n, pairs = sum(counts), n_classes * (n_classes - 1) // 2
    attributes: dict[str, Any] = {
        "kernel_type": kernel, "kernel_params": [0.4, 0.3, 2.0], "post_transform": post, "vectors_per_class": counts,
        "support_vectors": RNG.standard_normal(3 * n).tolist(), "coefficients": RNG.standard_normal(n * (n_classes - 1)).tolist(),
        "rho": RNG.standard_normal(pairs).tolist(), "classlabels_ints": [3, 5, 9][:n_classes],
    }  # fmt: skip
    if probabilities:
        attributes |= {"prob_a": (-1 - RNG.random(pairs)).tolist(), "prob_b": RNG.standard_normal(pairs).tolist()}
    return attributes


def test_support_vectors() -> None:
    cases = []
    x = RNG.standard_normal((7, 3)).astype(np.float32)
    for kernel in ("LINEAR", "POLY", "RBF", "SIGMOID"):
        for n_classes in (2, 3):
            for probabilities in (False, True):
                post = "LOGISTIC" if kernel == "RBF" and not probabilities else "NONE"
                made = model(
                    "SVMClassifier", [x], [np.int64, np.float32],
                    **support_vectors(kernel, n_classes, probabilities=probabilities, post=post),
                )  # fmt: skip
                # The oracles compute in float32. Of probabilities of three classes, ONNX's evaluator makes some below zero.
                oracle = runtime(made) if probabilities and n_classes == 3 else None
                cases.append(Case(made, ((x,), (x[:2],)), 1e-4, 1e-5, oracle))
        for one_class in (0, 1):
            attributes = {
                "kernel_type": kernel, "kernel_params": [0.4, 0.3, 2.0], "n_supports": 4, "one_class": one_class, "rho": [0.2],
                "support_vectors": RNG.standard_normal(12).tolist(), "coefficients": RNG.standard_normal(4).tolist(),
            }  # fmt: skip
            cases.append(Case(model("SVMRegressor", [x], [np.float32], **attributes), ((x,), (x[:0],)), 1e-4, 1e-5))
    linear = {
        "coefficients": RNG.standard_normal(9).tolist(),
        "rho": [0.3],
        "classlabels_ints": [0, 1, 2],
        "post_transform": "SOFTMAX",
    }
    made = model("SVMClassifier", [x], [np.int64, np.float32], **linear)
    made.graph.node[0].output[0] = ""
    del made.graph.output[0]

    def scores(x: Array) -> list[Array]:
        return [_softmax(x @ np.reshape(linear["coefficients"], (3, 3)).T + 0.3)]

    cases.append(Case(made, ((x,),), 1e-4, 1e-5, scores))
    hold(cases)


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(1, keepdims=True))
    return (e / e.sum(1, keepdims=True)).astype(np.float32)


# Trees.


def forest(
    n_trees: int, depth: int, *, modes: tuple[str, ...], n_targets: int, votes: int, missing: bool, prefix: str, sign: bool
) -> dict[str, Any]:
    """Attributes of complete trees with random thresholds."""
    nodes: dict[str, list[Any]] = {
        key: []
        for key in (
            "treeids",
            "nodeids",
            "featureids",
            "modes",
            "values",
            "truenodeids",
            "falsenodeids",
            "missing_value_tracks_true",
        )
    }
    leaves: dict[str, list[Any]] = {key: [] for key in ("treeids", "nodeids", "ids", "weights")}
    inner = 2**depth - 1
    for tree in range(n_trees):
        for number in range(2 * inner + 1):
            is_leaf = number >= inner
            row = {
                "treeids": tree, "nodeids": number, "featureids": int(RNG.integers(0, 3)),
                "values": float(RNG.integers(-4, 4)) / 2,
                "modes": "LEAF" if is_leaf else str(RNG.choice(modes)), "truenodeids": 0 if is_leaf else 2 * number + 1,
                "falsenodeids": 0 if is_leaf else 2 * number + 2,
                "missing_value_tracks_true": int(missing and RNG.integers(0, 2)),
            }  # fmt: skip
            for key, value in row.items():
                nodes[key].append(value)
            for target in RNG.permutation(n_targets)[:votes] if is_leaf else []:
                weight = float(np.float32(RNG.random())) / n_trees if not sign else float(np.float32(RNG.standard_normal()))
                for key, value in (("treeids", tree), ("nodeids", number), ("ids", int(target)), ("weights", weight)):
                    leaves[key].append(value)
    return {f"nodes_{key}": value for key, value in nodes.items()} | {f"{prefix}_{key}": value for key, value in leaves.items()}


def features() -> Array:
    """Numbers that meet thresholds exactly, beside others, and missing ones."""
    x = RNG.integers(-8, 8, (40, 3)) / 4
    x[RNG.random((40, 3)) < 0.1] = np.nan
    return x.astype(np.float32)


ORDER = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT")


def test_regression_by_trees() -> None:
    cases = []
    x = features()
    for number, aggregate in enumerate(("SUM", "AVERAGE", "MIN", "MAX") * 2):
        n_targets = 1 + number // 4 * 2
        attributes = forest(
            5, 3, modes=ORDER, n_targets=n_targets, votes=n_targets, missing=number % 2 == 0, prefix="target", sign=True
        )
        base = RNG.standard_normal(n_targets).tolist() if number % 2 else None
        made = model(
            "TreeEnsembleRegressor", [x], [np.float32], 3, aggregate_function=aggregate, n_targets=n_targets, **attributes,
            **({"base_values": base} if base else {}),
        )  # fmt: skip
        # Five numbers of order one are added in float32.
        cases.append(Case(made, ((x,), (x[:3],), (x[:0],)), 1e-5, 1e-5, runtime(made) if x.size else None))
    equal = forest(3, 2, modes=("BRANCH_EQ", "BRANCH_NEQ"), n_targets=1, votes=1, missing=False, prefix="target", sign=True)
    made = model("TreeEnsembleRegressor", [x], [np.float32], 1, n_targets=1, **equal)
    cases.append(Case(made, ((x,),), 1e-5, 1e-5, runtime(made)))
    doubles = np.where(np.isnan(x), x, x + 1e-12)
    made = model("TreeEnsembleRegressor", [doubles], [np.float32], 1, n_targets=1, **equal)
    cases.append(Case(made, ((doubles,),), 1e-5, 1e-5, runtime(made)))
    hold(cases)


@pytest.mark.parametrize("labels", ["classlabels_int64s", "classlabels_strings"])
def test_classes_by_trees(labels: str) -> None:
    cases = []
    x = features()
    named = {"classlabels_int64s": [4, 5, 7], "classlabels_strings": ["q", "r", "s"]}[labels]
    kind = np.int64 if labels.endswith("int64s") else object
    for post in ("NONE", "LOGISTIC", "SOFTMAX"):
        many = forest(4, 3, modes=ORDER, n_targets=3, votes=2, missing=True, prefix="class", sign=False)
        made = model("TreeEnsembleClassifier", [x], [kind, np.float32], 3, post_transform=post, **{labels: named}, **many,
                     base_values=[0.1, 0.2, 0.05])  # fmt: skip
        cases.append(Case(made, ((x,), (x[:2],)), 1e-5, 1e-5, runtime(made)))
    for post, sign in (("NONE", False), ("NONE", True), ("LOGISTIC", True)):
        two = forest(4, 3, modes=ORDER, n_targets=1, votes=1, missing=True, prefix="class", sign=sign)
        made = model("TreeEnsembleClassifier", [x], [kind, np.float32], 1, post_transform=post, **{labels: named[:2]}, **two)
        cases.append(Case(made, ((x,), (x[:2],)), 1e-5, 1e-5, runtime(made)))
    # Two classes with votes for each: ONNX Runtime takes another label here, the definition the larger score.
    both = forest(4, 3, modes=ORDER, n_targets=2, votes=2, missing=False, prefix="class", sign=False)
    made = model("TreeEnsembleClassifier", [x], [kind, np.float32], 3, **{labels: named[:2]}, **both)

    def larger(x: Array, made: Any = made) -> list[Array]:
        scores = runtime(made)(x)[1]
        return [np.array(named[:2], kind)[scores.argmax(1)], scores]

    cases.append(Case(made, ((x,),), 1e-5, 1e-5, larger))
    hold(cases)


def test_trees_of_version_five() -> None:
    tensor = helper.make_tensor
    attributes = {
        "aggregate_function": 1, "leaf_targetids": [0, 1, 0, 1], "leaf_weights": tensor("w", 11, [4], [1.5, -2, 0.25, 8]),
        "nodes_falseleafs": [0, 1, 1], "nodes_falsenodeids": [2, 2, 3], "nodes_featureids": [0, 1, 1],
        "nodes_modes": tensor("m", 2, [3], [6, 0, 6]), "nodes_splits": tensor("s", 11, [3], [0, 0.5, 0]),
        "nodes_trueleafs": [0, 1, 1], "nodes_truenodeids": [1, 0, 1], "tree_roots": [0, 0], "n_targets": 2,
        "membership_values": tensor("v", 11, [7], [0.0, 1, np.nan, -1, 0, 2, np.nan]),
    }  # fmt: skip
    x = np.array([[0, 0.5], [1, 0.75], [2, 0], [3, 2], [2, 7], [np.nan, 0]])
    made = model("TreeEnsemble", [x], [np.float64], 5, **attributes)

    def walk(x: Array) -> list[Array]:
        result = np.zeros((len(x), 2))
        for row, out in zip(x, result, strict=True):
            left = row[0] in (0, 1)
            weights = (1.5, 0.25, row[1] <= 0.5) if left else (-2, 8, row[1] in (-1, 0, 2))
            out[0 if left else 1] += 2 * (weights[0] if weights[2] else weights[1])
        return [result]

    # Sums of numbers that are exact in binary.
    hold([Case(made, ((x,), (x[:1],)), 0, 0, walk)])


# Errors.


def test_trees_that_are_none() -> None:
    x = features()
    good = forest(1, 1, modes=ORDER, n_targets=1, votes=1, missing=False, prefix="target", sign=True)

    def wrong(what: str, **changes: Any) -> None:
        with pytest.raises(InputError, match=what):
            translate(model("TreeEnsembleRegressor", [x], [np.float32], 1, n_targets=1, **good | changes), "wrong")

    wrong("no node 9", nodes_truenodeids=[9, 0, 0])
    wrong("circle", nodes_truenodeids=[0, 0, 0])
    wrong("two nodes 1", nodes_nodeids=[0, 1, 1])
    wrong("two roots", nodes_truenodeids=[2, 0, 0])
    wrong("looks at feature -1", nodes_featureids=[-1, 0, 0])
    wrong("looks at 4 features", nodes_featureids=[3, 0, 0])
    wrong("votes for 1", target_ids=[1, 0])
    wrong("mode 'BRANCH_ODD'", nodes_modes=["BRANCH_ODD", "LEAF", "LEAF"])
    wrong("3 entries of 'nodes_values'", nodes_values=[1.0])
    wrong("aggregate_function", aggregate_function="MEDIAN")
    wrong("base values", base_values=[1.0, 2.0, 3.0])
    tensor = helper.make_tensor
    flat = {
        "leaf_targetids": [0], "leaf_weights": tensor("w", 1, [1], [1.0]), "nodes_falseleafs": [0], "nodes_falsenodeids": [0],
        "nodes_featureids": [0], "nodes_modes": tensor("m", 2, [1], [0]), "nodes_splits": tensor("s", 1, [1], [0.0]),
        "nodes_trueleafs": [1], "nodes_truenodeids": [0], "tree_roots": [0], "n_targets": 1,
    }  # fmt: skip
    for what, changes in (
        ("circle", {}),
        ("child is not there", {"nodes_falsenodeids": [5]}),
        ("root that is not there", {"tree_roots": [3], "nodes_falseleafs": [1]}),
        ("fewer sets", {"nodes_modes": tensor("m", 2, [1], [6])}),
        ("node mode 9", {"nodes_modes": tensor("m", 2, [1], [9])}),
    ):
        with pytest.raises(InputError, match=what):
            translate(model("TreeEnsemble", [x], [np.float32], 5, **flat | changes), "wrong")


@pytest.mark.parametrize(
    ("kind", "attributes", "what"),
    [
        ("LinearRegressor", {"coefficients": [1.0, 2.0]}, "one coefficient for each feature"),
        ("LinearClassifier", {"coefficients": [1.0, 2.0, 3.0], "intercepts": [1.0]}, "labels of one type"),
        ("Scaler", {"offset": [1.0, 2.0]}, "one offset for each feature"),
        ("Imputer", {"imputed_value_int64s": [1]}, "no values of the type float32"),
        ("Normalizer", {"norm": "L3"}, "unknown norm"),
        ("OneHotEncoder", {"cats_strings": ["a"]}, "no categories"),
        ("LabelEncoder", {"keys_strings": ["a"], "values_int64s": [1]}, "keys of the type string"),
        ("SVMRegressor", {"coefficients": [1.0], "n_supports": 2, "support_vectors": [1.0] * 6, "rho": [0.0]},
         "1 coefficients for 2"),
        ("SVMClassifier", {"coefficients": [1.0], "vectors_per_class": [1, 1], "support_vectors": [1.0] * 6, "rho": [0.0],
                           "classlabels_ints": [0, 1]}, "do not fit"),
    ],
)  # fmt: skip
def test_bad_attributes(kind: str, attributes: dict[str, Any], what: str) -> None:
    outputs = [np.int64, np.float32] if "Classifier" in kind else [np.float32]
    version = 2 if kind == "LabelEncoder" else 1
    with pytest.raises(InputError, match=what):
        translate(model(kind, [np.zeros((2, 3), np.float32)], outputs, version, **attributes), "wrong")


def test_maps_are_refused_with_a_way_out() -> None:
    made = model("ZipMap", [np.zeros((2, 3), np.float32)], [np.float32], classlabels_int64s=[1, 2, 3])
    with pytest.raises(UnsupportedOperatorError, match="maps are not supported") as caught:
        translate(made, "wrong")
    assert "zipmap" in caught.value.hint
