"""TMVA weight files against TMVA's evaluation, written out plainly in `tmva_files`."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcore.errors import InputError, UnsupportedFeatureError
from mlcore.forests import load
from mlcore.forests.forest import Forest
from mlcore.forests.frontends import tmva_xml
from tests.mlcore.forests.tmva_files import RECIPES, Recipe, evaluate, thresholds, write

Array = np.ndarray[Any, Any]


def forest_of(xml: str) -> Forest:
    return Forest(tmva_xml.read(xml.encode(), iterations="auto"))


def probes(xml: str, n_features: int, seed: int = 0, n_rows: int = 400) -> Array:
    """float32 rows at the cuts, one unit in the last place beside them, and at what is no ordinary number."""
    rng = np.random.default_rng(seed)
    cuts = np.array(thresholds(xml), np.float32)
    with np.errstate(over="ignore"):
        beside = [cuts, np.nextafter(cuts, np.float32(np.inf)), np.nextafter(cuts, np.float32(-np.inf))]
    odd = np.array([0, -0.0, np.nan, np.inf, -np.inf, 1e-45, -1e-40], np.float32)
    pool = np.concatenate([*beside, odd, rng.normal(size=50).astype(np.float32)])
    return rng.choice(pool, (n_rows, n_features))


@pytest.mark.parametrize("name", RECIPES)
def test_sums_are_equal_and_predictions_close(name: str) -> None:
    recipe = RECIPES[name]
    xml = write(recipe)
    forest, rows = forest_of(xml), probes(xml, recipe.n_features)
    sums, predictions = evaluate(xml, rows)
    margin = forest.margin(rows).reshape(len(rows), -1)
    assert margin.dtype == np.float64
    np.testing.assert_array_equal(margin, sums)
    # exp is rounded differently by NumPy and the C library; without it both divide once and are equal.
    tolerance = 8 * np.finfo(float).eps if recipe.boosting == "Grad" else 0
    np.testing.assert_allclose(forest.predict(rows).reshape(len(rows), -1), predictions, rtol=tolerance, atol=tolerance)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(RECIPES.values())), st.integers(0, 10**6), st.integers(1, 7), st.integers(0, 6))
def test_random_forests(recipe: Recipe, seed: int, n_trees: int, depth: int) -> None:
    recipe = replace(recipe, seed=seed, n_trees=n_trees, depth=depth)
    xml = write(recipe)
    rows = probes(xml, recipe.n_features, seed, n_rows=40)
    np.testing.assert_array_equal(forest_of(xml).margin(rows).reshape(len(rows), -1), evaluate(xml, rows)[0])


def test_double_rows_are_rounded_to_float_first() -> None:
    """An event's values are floats in TMVA."""
    xml = write(RECIPES["Grad"])
    rows = probes(xml, 4).astype(np.float64) * (1 + 1e-12)
    np.testing.assert_array_equal(forest_of(xml).margin(rows), evaluate(xml, rows)[0][:, 0])


HEAD = '<MethodSetup Method="BDT::b"><GeneralInfo><Info name="AnalysisType" value="{analysis}"/></GeneralInfo><Options>'
BODY = (
    '<Option name="BoostType">{boosting}</Option><Option name="UseYesNoLeaf">{yes_no}</Option></Options>'
    '<Variables NVar="1"><Variable VarIndex="0" Expression="x"/></Variables><Weights NTrees="2" AnalysisType="{kind}">'
    '<BinaryTree boostWeight="3.0"><Node pos="s" depth="0" NCoef="0" IVar="0" Cut="0.5" cType="{first}" nType="0">'
    '<Node pos="l" depth="1" NCoef="0" IVar="-1" Cut="0" cType="1" res="0.25" purity="0.125" nType="-1"/>'
    '<Node pos="r" depth="1" NCoef="0" IVar="-1" Cut="0" cType="1" res="-0.5" purity="0.75" nType="1"/></Node></BinaryTree>'
    '<BinaryTree boostWeight="1.0"><Node pos="s" depth="0" NCoef="0" IVar="-1" Cut="0" cType="1" res="1" purity="0.5"'
    ' nType="1"/></BinaryTree></Weights></MethodSetup>'
)


def by_hand(analysis: str, boosting: str, *, yes_no: bool, kind: int, first: int = 1) -> Forest:
    return forest_of((HEAD + BODY).format(analysis=analysis, boosting=boosting, yes_no=yes_no, kind=kind, first=first))


def test_a_file_worked_out_by_hand() -> None:
    rows = np.array([[0.25], [0.5], [0.75], [np.nan]], np.float32)
    ada = by_hand("Classification", "AdaBoost", yes_no=True, kind=0)
    np.testing.assert_array_equal(ada.margin(rows), [-2, 4, 4, -2])
    np.testing.assert_array_equal(ada.predict(rows), [-0.5, 1, 1, -0.5])
    real = by_hand("Classification", "AdaBoost", yes_no=False, kind=0)
    np.testing.assert_array_equal(real.predict(rows), [0.21875, 0.6875, 0.6875, 0.21875])
    grad = by_hand("Classification", "Grad", yes_no=True, kind=1)
    np.testing.assert_array_equal(grad.margin(rows), [1.25, 0.5, 0.5, 1.25])
    np.testing.assert_allclose(grad.predict(rows), np.tanh([1.25, 0.5, 0.5, 1.25]), rtol=1e-14)
    regression = by_hand("Regression", "Grad", yes_no=False, kind=1)
    np.testing.assert_array_equal(regression.predict(rows), [4.25, 3.5, 3.5, 4.25])
    reverse = by_hand("Classification", "AdaBoost", yes_no=True, kind=0, first=0)
    np.testing.assert_array_equal(reverse.margin(rows), [4, -2, -2, 4])


def test_what_is_said_of_the_forest(tmp_path: Path) -> None:
    path = tmp_path / "TMVAMulticlass_BDTG.weights.xml"
    path.write_text(write(RECIPES["multi-class"]))
    forest = load(path)
    info = forest.info
    assert (info.format, info.library, info.library_version) == ("tmva-xml", "tmva", "4.2.1")
    assert (info.objective, info.booster, info.n_outputs, info.n_trees) == ("multiclass", "Grad", 3, 18)
    assert info.feature_names == ("var1+var2", "pt<10 && eta>0", 'quoted "name"', "x")
    assert forest.model.classes == ("class 0", "class 1", "class 2")


def test_weights_that_add_up_to_nothing_answer_zero() -> None:
    xml = re.sub(r'boostWeight="[^"]*"', 'boostWeight="0"', write(RECIPES["AdaBoost"]))
    rows = probes(xml, 4)
    assert not forest_of(xml).predict(rows).any()
    np.testing.assert_array_equal(evaluate(xml, rows)[1], 0)


def test_files_of_old_versions_hold_event_weights_instead_of_a_purity() -> None:
    xml = (HEAD + BODY).format(analysis="Classification", boosting="AdaBoost", yes_no=False, kind=0, first=1)
    xml = xml.replace("AnalysisType=", "TreeType=").replace('purity="0.75"', 'nS="3" nB="1"')
    assert forest_of(xml).margin(np.ones((1, 1)))[0] == 3 * 0.75 + 0.5


def test_what_is_below_a_leaf_does_not_count() -> None:
    xml = (HEAD + BODY).format(analysis="Classification", boosting="AdaBoost", yes_no=True, kind=0, first=1)
    leaf = '<Node pos="l" nType="1"/>'
    pruned = xml.replace('nType="1"/></Node>', f'nType="1">{leaf}<Node pos="x" nType="0">{leaf}</Node></Node></Node>')
    assert pruned != xml
    assert forest_of(pruned).info.n_nodes == forest_of(xml).info.n_nodes


def test_an_empty_line_before_the_declaration_is_read() -> None:
    """Converters from other libraries write one."""
    xml = write(RECIPES["Grad"])
    assert tmva_xml.matches(b"\n    " + xml.encode()[:4096])
    assert forest_of("\n    " + xml).info.n_trees == 6


Change = tuple[str, str, str]
REFUSED: dict[str, Change] = {
    "another method": ('Method="BDT::', 'Method="MLP::', "'MLP::BDTtest' is no forest"),
    "a weighted median": (">AdaBoost<", ">AdaBoostR2<", "weighted median"),
    "unknown boosting": (">AdaBoost<", ">Boosted<", "'Boosted' is not known for classification"),
    "transformation": (
        '<Transformations NTransformations="0"/>',
        '<Transformations NTransformations="1"><Transform Name="Decorrelation"/></Transformations>',
        "transforms its variables: Decorrelation",
    ),
    "transformation by option": ('"VarTransform" modified="Yes">None', '"VarTransform">D,G', "VarTransform=D,G"),
    "Fisher cuts": ('NCoef="0"', 'NCoef="5"', "tree 0, node 0 cuts on several variables"),
    "preselection": ('"DoPreselection" modified="Yes">False', '"DoPreselection">True', "preselection"),
}
LAUGHS = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]><MethodSetup '
DAMAGED: dict[str, Change] = {
    "document type": ("<MethodSetup ", "<!DOCTYPE x><MethodSetup ", "declares a document type"),
    "entities": ("<MethodSetup ", LAUGHS, "declares a document type"),
    "external entity": ("<MethodSetup ", '<!DOCTYPE x SYSTEM "file:///etc/passwd"><MethodSetup ', "declares a document type"),
    "unknown entity": ("var1+var2", "&unknown;", "line 15, column 5"),
    "parameter entity": ("<MethodSetup ", "<!DOCTYPE x [ %p; ]><MethodSetup ", "declares a document type"),
    "encoding": ('version="1.0"', 'version="1.0" encoding="klingon"', "unknown encoding"),
    "wide encoding": ('version="1.0"', 'version="1.0" encoding="shift_jis"', "unknown encoding"),
    "another root": ("MethodSetup", "Setup", "begins with the element 'Setup'"),
    "truncated": ("</Weights>", "", "mismatched tag"),
    "number of trees": ('NTrees="6"', 'NTrees="100000000"', "NTrees=100000000 and 6 trees"),
    "no trees": ('NTrees="6"', 'NTrees="0"', "NTrees=0"),
    "number of variables": ('NVar="4"', 'NVar="999999999"', "NVar=999999999"),
    "variable twice": ('VarIndex="1"', 'VarIndex="0"', "NVar=4"),
    "variable beyond the last": ('IVar="', 'IVar="7', "feature is out of range"),
    "no variable": ('IVar="', 'IVar="-', "cuts on the variable -"),
    "cut no number": ('Cut="', 'Cut="x', "tree 0, node 0 has Cut='x"),
    "cut NaN": ('Cut="', 'Cut="nan" x="', "tree 0, node 0 has Cut='nan'"),
    "cut beyond float": ('Cut="', 'Cut="1e300" x="', "no finite float"),
    "underscored number": ('Cut="', 'Cut="1_0" x="', "Cut='1_0'"),
    "boost weight": ('boostWeight="', 'boostWeight="inf" x="', "tree 0 has boostWeight='inf'"),
    "cut missing": ("Cut=", "cut=", "tree 0, node 0 has Cut=''"),
    "position": ('pos="l"', 'pos="m"', "at the position 'm'"),
    "two left children": ('pos="r"', 'pos="l"', "is the second child of node"),
    "two roots": ("</BinaryTree>", '<Node pos="s" nType="1"/></BinaryTree>', "tree 0 has more than one root"),
    "flag": ('"UseYesNoLeaf" modified="Yes">True', '"UseYesNoLeaf">Perhaps', "neither True nor False"),
    "analysis": ('value="Classification"', 'value="Clustering"', "AnalysisType 'clustering'"),
    "endless option": (">AdaBoost<", ">" + "AdaBoost" * 10_000 + "<", "more than 10000 characters"),
    "no weights": ("Weights", "Heights", "no element Weights"),
    "kind of trees": ('AnalysisType="0"', 'AnalysisType="?"', "AnalysisType='?'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_a_sum_over_trees_is_refused_by_name(case: str) -> None:
    old, new, message = REFUSED[case]
    xml = write(RECIPES["AdaBoost"])
    assert old in xml
    with pytest.raises(UnsupportedFeatureError, match=message) as caught:
        forest_of(xml.replace(old, new, 1))
    assert caught.value.hint


@pytest.mark.parametrize("case", DAMAGED)
def test_damage_is_named_with_its_place(case: str) -> None:
    old, new, message = DAMAGED[case]
    xml = write(RECIPES["AdaBoost"])
    assert old in xml
    with pytest.raises(InputError, match=message) as caught:
        forest_of(xml.replace(old, new) if case in ("another root", "no weights") else xml.replace(old, new, 1))
    assert caught.value.hint


def test_a_missing_child_is_named() -> None:
    xml = (HEAD + BODY).format(analysis="Classification", boosting="AdaBoost", yes_no=True, kind=0, first=1)
    with pytest.raises(InputError, match="tree 0, node 0: its child is out of range"):
        forest_of(re.sub('<Node pos="l"[^>]*/>', "", xml))


def test_a_leaf_without_its_number_is_named() -> None:
    xml = (HEAD + BODY).format(analysis="Classification", boosting="Grad", yes_no=True, kind=1, first=1)
    with pytest.raises(InputError, match="tree 0, node 2: the leaf's value is not finite"):
        forest_of(xml.replace('res="-0.5"', 'res="nan"'))


def test_deep_nesting_is_refused_without_recursion() -> None:
    with pytest.raises(InputError, match="nests more than"):
        forest_of('<MethodSetup Method="BDT::b">' + "<a>" * 200_000)
