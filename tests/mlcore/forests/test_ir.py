"""The tree IR: trees joined to flat arrays and seen as trees again; the verifier names what is wrong, and where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import kernels
from kernels import reference
from mlcore.errors import InputError
from mlcore.forests import links, predictor, verifier
from mlcore.forests.ir import MAX_CATEGORY, Comparison, FloatName, Link, Missing, Source, Tree, TreeModel, Trees
from mlcore.forests.verifier import verify


def tree(
    n_splits: int = 3, *, seed: int = 0, output: int = 0, width: int = 0, sets: bool = False, backwards: bool = False
) -> Tree:
    """A random tree; with `backwards`, children are numbered before their parents, the root excepted."""
    rng = np.random.default_rng(seed)
    left, right, feature = [-1], [-1], [-1]
    for _ in range(n_splits):
        leaf = int(rng.choice([i for i, value in enumerate(feature) if value < 0]))
        feature[leaf], left[leaf], right[leaf] = int(rng.integers(4)), len(feature), len(feature) + 1
        feature, left, right = [*feature, -1, -1], [*left, -1, -1], [*right, -1, -1]
    n = len(feature)
    if backwards:
        place = [0, *range(n - 1, 0, -1)]
        left = [place[left[i]] if left[i] >= 0 else -1 for i in place]
        right = [place[right[i]] if right[i] >= 0 else -1 for i in place]
        feature = [feature[i] for i in place]
    listed = {i: (1, 33 + i) for i in range(n) if feature[i] >= 0 and i % 2 == 0} if sets else {}
    return Tree(
        output=output,
        feature=np.array(feature, np.int32),
        threshold=rng.normal(size=n).astype(np.float32),
        left=np.array(left, np.int32),
        right=np.array(right, np.int32),
        comparison=np.array([Comparison.IN_SET if i in listed else Comparison.LESS for i in range(n)], np.uint8),
        missing=np.full(n, Missing.NAN, np.uint8),
        default_left=rng.random(n) < 0.5,
        value=rng.normal(size=(n, width) if width else n).astype(np.float32),
        categories=listed,
    )


def model(trees: Any, n_outputs: int = 1, **changes: Any) -> TreeModel:
    made = TreeModel(
        source=Source("test", "test", "", "", ""),
        n_features=4,
        n_outputs=n_outputs,
        feature_names=(),
        trees=trees,
        base=np.zeros(n_outputs, np.float32),
        threshold_dtype="float32",
        sum_dtype="float32",
        link=Link.IDENTITY,
    )
    return replace(made, **changes)


def equal(a: Tree, b: Tree) -> bool:
    names = ("feature", "threshold", "left", "right", "comparison", "missing", "default_left", "value")
    same = all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)
    return same and a.output == b.output and dict(a.categories) == dict(b.categories)


def test_joined_trees_are_the_same_trees() -> None:
    made = [tree(i, seed=i, output=i % 2, sets=i % 3 == 0) for i in range(7)]
    joined = Trees.joined(made)
    assert len(joined) == 7
    assert all(equal(a, b) for a, b in zip(joined, made, strict=True))
    assert equal(joined[-1], made[-1])
    assert all(equal(a, b) for a, b in zip(joined[2:5], made[2:5], strict=True))
    assert all(equal(a, b) for a, b in zip(joined.first(4), made[:4], strict=True))
    for a, b in [(0, 7), (2, 5), (3, 3), (6, 7)]:
        assert all(equal(one, two) for one, two in zip(joined.between(a, b), made[a:b], strict=True))
        verify(model(joined.between(a, b), 2))
    assert joined.depths.tolist() == [part.depth for part in made]
    assert Trees.joined(joined) is joined
    with pytest.raises(IndexError):
        joined[7]
    verify(model(joined, 2))
    verify(model(joined.first(4), 2))
    verify(model(()))


def test_views_share_the_memory() -> None:
    joined = Trees.joined([tree(seed=1), tree(seed=2)])
    assert np.shares_memory(joined[1].threshold, joined.threshold)
    assert np.shares_memory(model(joined).tables().feature, joined.feature)


def test_flat_and_single_trees_give_the_kernel_the_same_tables() -> None:
    made = [tree(5, seed=i, output=i % 2, sets=i % 2 == 0, backwards=i % 3 == 1) for i in range(6)]
    tables = verify(model(made, 2)).tables()
    rows = np.random.default_rng(3).normal(scale=20, size=(200, 4)).astype(np.float32)
    leaves = reference.forest_leaves(tables, rows)
    for number, part in enumerate(made):
        alone = model([replace(part, output=0)]).tables()
        np.testing.assert_array_equal(leaves[:, number], reference.forest_leaves(alone, rows)[:, 0])
    np.testing.assert_array_equal(kernels.build_forest(tables).leaves(rows), leaves)


def test_sizes_depth_and_thresholds() -> None:
    made = [tree(4, seed=i, sets=i == 1) for i in range(3)]
    whole = model(made)
    assert whole.n_nodes == sum(part.n_nodes for part in made)
    assert whole.n_leaves == 15
    assert whole.depth == max(part.depth for part in made)
    wanted: dict[int, set[float]] = {}
    for part in made:
        for node in np.flatnonzero(~part.is_leaf & (part.comparison == Comparison.LESS)):
            wanted.setdefault(int(part.feature[node]), set()).add(float(part.threshold[node]))
    assert {feature: found.tolist() for feature, found in whole.thresholds().items()} == {k: sorted(v) for k, v in wanted.items()}


def test_vector_leaves() -> None:
    whole = verify(model([tree(seed=i, width=3) for i in range(2)], 3))
    assert whole.trees.vector_leaves
    assert whole.trees[1].value.shape == (7, 3)
    assert Trees.joined([tree(width=1)]).value.shape == (7,)
    for trees, n_outputs, message in [
        ([tree(width=3)], 2, r"values of the shape \(3,\) for 2 outputs"),
        ([tree(width=3, output=1)], 3, "tree 0: it adds to output 1 of 1"),
        ([tree(width=3), tree()], 3, "of others not"),
    ]:
        with pytest.raises(InputError, match=message):
            verify(model(trees, n_outputs))


def changed(name: str, node: int, value: float, **options: Any) -> Callable[[], Trees]:
    """Three trees of which the second has one entry changed."""

    def make() -> Trees:
        made = [tree(seed=i, **options) for i in range(3)]
        array = getattr(made[1], name).copy()
        array[node] = value
        return Trees.joined([made[0], replace(made[1], **{name: array}), made[2]])

    return make


def flat(**changes: Callable[[Any], Any]) -> Callable[[], Trees]:
    """Three trees of which some flat arrays are changed."""

    def make() -> Trees:
        joined = Trees.joined([tree(seed=i, sets=True) for i in range(3)])
        return replace(joined, **{name: change(getattr(joined, name)) for name, change in changes.items()})

    return make


def shared() -> Trees:
    """Two parents of one node, and a node without any, children behind their parents."""
    made = tree(seed=1)
    right = made.right.copy()
    right[0] = made.left[0]
    return Trees.joined([tree(), replace(made, right=right)])


def island() -> Trees:
    """A cycle of two nodes that the root does not reach, each node with one parent."""
    island = replace(
        tree(4),
        feature=np.array([0, -1, -1, 0, -1, 0, -1, -1, -1], np.int32),
        left=np.array([1, -1, -1, 5, -1, 3, -1, -1, -1], np.int32),
        right=np.array([2, -1, -1, 4, -1, 6, -1, -1, -1], np.int32),
    )
    return Trees.joined([tree(), island])


BAD = {
    "child beyond": (changed("left", 0, 99), "tree 1, node 0: its child is out of range"),
    "child of another tree": (changed("right", 0, 7), "tree 1, node 0: its child is out of range"),
    "negative child": (changed("left", 0, -2), "tree 1, node 0: its child is out of range"),
    "back to the root": (changed("left", 0, 0), "tree 1, node 0: .* cycle"),
    "shared": (shared, "tree 1, node 1: it is the child of more than one node"),
    "island": (island, "tree 1, node 3: it cannot be reached from the root"),
    "feature": (changed("feature", 0, 4), "tree 1, node 0: its feature is out of range"),
    "comparison": (changed("comparison", 0, 4), "tree 1, node 0: its comparison is unknown"),
    "missing": (changed("missing", 0, 3), "tree 1, node 0: its missing value is unknown"),
    "threshold": (changed("threshold", 0, np.nan), "tree 1, node 0: its threshold is not a number"),
    "value": (changed("value", 6, np.inf), "tree 1, node 6: the leaf's value is not finite"),
    "half a leaf": (changed("feature", 6, 2), "tree 1, node 6: its child is out of range"),
    "no more split": (changed("feature", 0, -1), r"tree 1, node \d: it cannot be reached from the root"),
    "output": (flat(output=lambda a: np.add(a, [0, 0, 1])), "tree 2: it adds to output 1 of 1"),
    "lengths": (flat(threshold=lambda a: a[:-1]), "the arrays of nodes differ in length"),
    "start": (flat(start=lambda a: a + 1), "do not follow one another"),
    "descending start": (flat(start=lambda a: a[[0, 2, 1, 3]]), "do not follow one another"),
    "too few starts": (flat(start=lambda a: a[:-1]), "do not follow one another"),
    "empty tree": (flat(start=lambda a: a[[0, 1, 1, 3]], output=lambda a: a), "tree 1: the tree has no node"),
    "precision": (flat(value=lambda a: a.astype(np.float64)), "precision"),
    "set of no node": (flat(set_node=lambda a: a + 1000), "sets of categories do not fit"),
    "sets out of order": (flat(set_node=lambda a: a[::-1]), "sets of categories do not fit"),
    "set beyond the words": (flat(set_words=lambda a: a[:-1]), "sets of categories do not fit"),
    "descending sets": (flat(set_start=lambda a: a[[0, 2, 1, *range(3, len(a))]]), "sets of categories do not fit"),
}


@pytest.mark.parametrize("case", BAD)
def test_the_verifier_names_the_place(case: str) -> None:
    make, message = BAD[case]
    with pytest.raises(InputError, match=message) as caught:
        verify(model(make()))
    assert caught.value.hint


def test_the_place_is_right_in_any_block(monkeypatch: pytest.MonkeyPatch) -> None:
    trees = [tree(n, seed=n) for n in (3, 0, 9, 1, 30, 2, 2, 2, 0, 5)]
    for size in (1, 4, 20, 1000):
        monkeypatch.setattr(verifier, "BLOCK", size)
        verify(model(trees))
        for number, part in enumerate(trees):
            value = part.value.copy()
            value[-1] = np.nan
            with pytest.raises(InputError, match=f"tree {number}, node {part.n_nodes - 1}: the leaf's value"):
                verify(model([*trees[:number], replace(part, value=value), *trees[number + 1 :]]))


def test_children_before_their_parents_are_trees_too() -> None:
    verify(model([tree(9, seed=i, backwards=True) for i in range(20)]))


def test_trees_whose_arrays_differ_in_length() -> None:
    with pytest.raises(InputError, match="tree 1: its arrays differ in length"):
        Trees.joined([tree(), replace(tree(), value=np.zeros(3, np.float32))])


@pytest.mark.parametrize("categories", [(-1,), (MAX_CATEGORY,)])
def test_categories_out_of_range(categories: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="tree 0, node 2: its categories are out of range"):
        Trees.joined([replace(tree(), categories={2: categories})])


def test_sets_of_categories_cannot_ask_for_much_memory() -> None:
    greedy = replace(tree(100), categories=dict.fromkeys(range(201), (MAX_CATEGORY - 1,)))
    with pytest.raises(InputError, match="too much memory"):
        Trees.joined([greedy])


def test_a_pair_needs_one_sum() -> None:
    with pytest.raises(InputError, match="a pair is made of one sum"):
        verify(model([tree()], 2, link=Link.SIGMOID_PAIR))
    assert model([tree()], link=Link.SIGMOID_PAIR).n_predictions == 2


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("link", Link)
def test_the_kernels_links_are_those_of_numpy(link: Link, dtype: FloatName) -> None:
    n_outputs = 1 if link in (Link.SIGMOID_PAIR, Link.COMPLEMENT_PAIR) else 3
    trees = [tree(6, seed=i, output=i % n_outputs) for i in range(9)]
    trees = [replace(part, value=(3 * part.value).astype(dtype)) for part in trees]
    base = np.linspace(-1, 1, n_outputs).astype(dtype)
    made = model(trees, n_outputs, base=base, sum_dtype=dtype, link=link, link_scale=1.25, divisor=2.0)
    native = predictor.build(verify(made))
    rows = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    margin = native.margin(rows).reshape(300, -1)
    wanted = links.apply(link, margin / margin.dtype.type(2), 1.25)
    got = native.predict(rows)
    assert got.dtype == dtype
    assert wanted.shape[1] == native.n_predictions == made.n_predictions
    # A few roundings of exp, and of sums and quotients near 1.
    np.testing.assert_allclose(got.reshape(wanted.shape), wanted, rtol=16 * np.finfo(dtype).eps, atol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_links_of_pairs_and_tanh(dtype: type[np.floating[Any]]) -> None:
    margin = np.array([[-200.0], [-1.0], [0.0], [0.25], [300.0]], dtype)
    p = 1 / (1 + np.exp(-1.5 * margin.astype(np.float64)))
    tolerance = 4 * np.finfo(dtype).eps  # a few roundings of exp, a sum and a quotient
    pair = links.apply(Link.SIGMOID_PAIR, margin, 1.5)
    np.testing.assert_allclose(pair, np.concatenate([1 - p, p], axis=1), rtol=0, atol=tolerance)
    half = links.apply(Link.TANH_HALF, margin)
    np.testing.assert_allclose(half, np.tanh(margin.astype(np.float64)), rtol=0, atol=tolerance)
    assert pair.dtype == half.dtype == dtype
