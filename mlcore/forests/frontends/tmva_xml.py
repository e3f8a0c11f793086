"""TMVA's weight files of boosted decision trees (method BDT), which are XML.

TMVA keeps events, cuts, leaves and boost weights as floats and sums in double. A node with ``cType`` 1 sends an event right
where ``x >= cut`` and left otherwise, NaN too; one with ``cType`` 0 does the reverse. A node whose ``nType`` is not 0 is a leaf,
and what it adds is its ``res`` where the trees regress (gradient boosting always does), else its ``nType`` with
``UseYesNoLeaf`` and its ``purity`` without. The sums run in the order of the trees, starting at zero:

- gradient boosting, classification: ``2 / (1 + exp(-2 sum)) - 1``,
- gradient boosting, several classes: tree ``i`` belongs to class ``i % n``, and a softmax follows,
- gradient boosting, regression: the sum and then the first tree's boost weight, which is a tree of a lone leaf here,
- any other boosting: the mean of the leaves by boost weight, or 0 where the weights add up to nothing.

TMVA rounds its answer to float for regression and several classes; here it stays double. What a feature is, its name says: it
is the expression that the training was given.

References
----------
TMVA's ``MethodBDT::PrivateGetMvaValue``, ``GetGradBoostMVA``, ``GetMulticlassValues``, ``GetRegressionValues``;
``DecisionTree::CheckEvent``; ``DecisionTreeNode::GoesRight``. A. Hoecker et al., "TMVA - Toolkit for Multivariate Data
Analysis", physics/0703039, section 8.13.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any
from xml.parsers import expat

import numpy as np

from mlcore.errors import InputError, UnsupportedFeatureError
from mlcore.forests.frontends import Iterations
from mlcore.forests.frontends._fields import damaged
from mlcore.forests.ir import Comparison, Link, Missing, Source, Tree, TreeModel, Trees
from mlcore.forests.verifier import MAX_OUTPUTS

FORMAT = "tmva-xml"

MAX_NESTING = 1000
"""Elements within each other; TMVA's trees are at most some dozen nodes deep."""

MAX_OPTION = 10_000
"""Characters of an option's text."""

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")
_ABOVE_NODES = ("Node", "BinaryTree")
_REGRESSION_TREES = 1  # TMVA::Types::kRegression
_WEIGHTED_MEAN = {"AdaBoost", "RealAdaBoost", "AdaCost", "Bagging"}
_PURITY_ONLY = {"RealAdaBoost", "AdaCost"}  # TMVA itself switches UseYesNoLeaf off for these

Attributes = Mapping[str, str]


def matches(head: bytes) -> bool:
    """XML whose outermost element is TMVA's."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<") and b"<MethodSetup" in head


def read(data: bytes, *, iterations: Iterations) -> TreeModel:
    """The model of a weight file, not yet verified. Early stopping is none of TMVA's, so `iterations` changes nothing.

    Raises
    ------
    InputError
        The text is no XML, declares a document type or entities, or is no weight file.
    UnsupportedFeatureError
        Another method than BDT, transformed variables, Fisher cuts, a preselection, or AdaBoostR2, whose weighted median is
        no sum over trees.
    """
    file = _WeightFile()
    # Converters to this format are known to begin with an empty line, which XML itself does not allow.
    file.parse(data.removeprefix(b"\xef\xbb\xbf").lstrip())
    return _model(file)


class _WeightFile:
    """What a weight file says, gathered element by element; nothing here recurses."""

    def __init__(self) -> None:
        self.path: list[str] = []
        self.method = ""
        self.info: dict[str, str] = {}
        self.options: dict[str, str] = {}
        self.counts: dict[str, int] = {}  # of what each list says that it holds
        self.variables: list[Attributes] = []
        self.classes: list[str] = []
        self.transformations: list[str] = []
        self.weights: Attributes | None = None
        self.boost_weights: list[float] = []
        self.trees: list[_Nodes] = []
        self._option: str | None = None
        self._in_tree = False

    def parse(self, data: bytes) -> None:
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = _refuse_doctype
        parser.EntityDeclHandler = _refuse_doctype
        try:
            parser.Parse(data, True)
        except expat.ExpatError as error:
            place = f"line {error.lineno}, column {error.offset + 1}"
            message = f"the XML breaks at {place}: {expat.ErrorString(error.code)}"
            raise InputError(message, hint="The file is truncated or damaged; save the model again.", code="forest.xml") from None
        except InputError:
            raise
        except (LookupError, ValueError):  # an encoding that Python does not have, or that is none of characters
            damaged("the XML", "is in an unknown encoding")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        parent = self.path[-1] if self.path else ""
        if not parent and tag != "MethodSetup":
            damaged("the XML", f"begins with the element {tag[:40]!r}, not with MethodSetup")
        if len(self.path) == MAX_NESTING:
            damaged("the XML", f"nests more than {MAX_NESTING} elements")
        self.path.append(tag)
        match tag:
            case "Node" if self._in_tree and parent in _ABOVE_NODES:
                self.trees[-1].open(f"tree {len(self.trees) - 1}", attributes)
            case "BinaryTree" if parent == "Weights":
                place = f"tree {len(self.trees)}"
                self.boost_weights.append(_float32(attributes, "boostWeight", place))
                self.trees.append(_Nodes())
                self._in_tree = True
            case "MethodSetup":
                self.method = attributes.get("Method", "")
            case "Info" if parent == "GeneralInfo":
                self.info[attributes.get("name", "")] = attributes.get("value", "")
            case "Option":
                self._option = attributes.get("name", "")
                self.options[self._option] = ""
            case "Variables" | "Classes" | "Targets" | "Transformations":
                key = {"Variables": "NVar", "Classes": "NClass", "Targets": "NTrgt", "Transformations": "NTransformations"}[tag]
                self.counts[tag] = _integer(attributes, key, tag)
            case "Variable" if parent == "Variables":
                self.variables.append(attributes)
            case "Class" if parent == "Classes":
                self.classes.append(attributes.get("Name", ""))
            case "Transform" if parent == "Transformations":
                self.transformations.append(attributes.get("Name", "unnamed"))
            case "Weights":
                if self.weights is not None:
                    damaged("the XML", "has the element Weights twice")
                self.weights = attributes

    def _end(self, tag: str) -> None:
        self.path.pop()
        parent = self.path[-1] if self.path else ""
        if tag == "Node" and self._in_tree and parent in _ABOVE_NODES:
            self.trees[-1].close()
        elif tag == "BinaryTree" and parent == "Weights":
            self._in_tree = False
        elif tag == "Option":
            self._option = None

    def _text(self, text: str) -> None:
        if self._option is not None:
            self.options[self._option] += text
            if len(self.options[self._option]) > MAX_OPTION:
                damaged(f"the option {self._option[:40]!r}", f"has more than {MAX_OPTION} characters")


class _Nodes:
    """A tree as it grows: the nodes in the order of the file, parents before children."""

    def __init__(self) -> None:
        self.feature: list[int] = []
        self.cut: list[float] = []
        self.below: list[int] = []  # the child of x < cut
        self.above: list[int] = []
        self.reversed: list[bool] = []
        self.kind: list[float] = []
        self.response: list[float] = []
        self.purity: list[float] = []
        self._ancestors: list[int] = []

    def open(self, tree: str, attributes: Attributes) -> None:
        parent = self._ancestors[-1] if self._ancestors else None
        if parent == -1 or (parent is not None and self.feature[parent] < 0):
            self._ancestors.append(-1)  # pruned away: TMVA stops at the leaf above
            return
        number = len(self.feature)
        place = f"{tree}, node {number}"
        if parent is not None:
            self._attach(number, parent, attributes.get("pos", ""), place)
        elif number:
            damaged(tree, "has more than one root")
        self._ancestors.append(number)
        if _integer(attributes, "NCoef", place, 0):
            hint = "Train with UseFisherCuts=False."
            raise UnsupportedFeatureError(f"{place} cuts on several variables at once (Fisher)", hint=hint)
        kind = _integer(attributes, "nType", place)
        leaf = kind != 0
        feature = -1 if leaf else _integer(attributes, "IVar", place)
        if not leaf and feature < 0:
            damaged(place, f"cuts on the variable {feature}")
        self.feature.append(feature)
        self.cut.append(0.0 if leaf else _float32(attributes, "Cut", place))
        self.reversed.append(not leaf and _integer(attributes, "cType", place) == 0)
        self.below.append(-1)
        self.above.append(-1)
        self.kind.append(kind)
        self.response.append(_leaf_number(attributes, "res") if leaf else 0.0)
        self.purity.append(_purity(attributes) if leaf else 0.0)

    def close(self) -> None:
        self._ancestors.pop()

    def _attach(self, number: int, parent: int, position: str, place: str) -> None:
        if position not in ("l", "r"):
            damaged(place, f"is at the position {position[:20]!r}, neither l nor r")
        children = self.above if (position == "r") != self.reversed[parent] else self.below
        if children[parent] != -1:
            damaged(place, f"is the second child of node {parent} at the position {position}")
        children[parent] = number

    def tree(self, output: int, leaves: str, weight: float) -> Tree:
        """The tree with the leaves' `kind`, `response` or `purity`, times a weight; the product of two floats is exact."""
        feature = np.array(self.feature, np.int32)
        n_nodes = len(feature)
        values = np.array(getattr(self, leaves), np.float64)
        return Tree(
            output=output,
            feature=feature,
            threshold=np.array(self.cut, np.float32),
            left=np.array(self.below, np.int32),
            right=np.array(self.above, np.int32),
            comparison=np.full(n_nodes, Comparison.LESS, np.uint8),
            missing=np.full(n_nodes, Missing.NAN, np.uint8),
            default_left=np.ones(n_nodes, bool),  # NaN is never >= cut, so it goes where smaller values go
            value=np.where(feature < 0, values * weight, 0.0),
        )


def _model(file: _WeightFile) -> TreeModel:
    kind, _, _ = file.method.partition("::")
    if kind != "BDT":
        raise UnsupportedFeatureError(f"the TMVA method {file.method[:80]!r} is no forest", hint="Book the method BDT.")
    _refuse_transformations(file)
    if _flag(file.options, "DoPreselection", default=False):
        hint = "Train with DoPreselection=False."
        raise UnsupportedFeatureError("the TMVA model applies a preselection before its trees", hint=hint)
    analysis = file.info.get("AnalysisType", "Classification").lower()
    boosting = file.options.get("BoostType", "AdaBoostR2" if analysis == "regression" else "AdaBoost").strip()
    _refuse_boosting(analysis, boosting)

    names = _feature_names(file)
    if file.weights is None:
        damaged("the XML", "has no element Weights")
    n_trees = _integer(file.weights, "NTrees", "Weights")
    if n_trees != len(file.trees) or not n_trees:
        damaged("Weights", f"has NTrees={n_trees} and {len(file.trees)} trees")
    n_outputs = file.counts.get("Classes", 0) if analysis == "multiclass" else 1
    if not 1 <= n_outputs <= MAX_OUTPUTS:
        damaged("Classes", f"has {n_outputs} classes")
    if file.classes and len(file.classes) != file.counts["Classes"]:
        damaged("Classes", f"has NClass={file.counts['Classes']} and {len(file.classes)} classes")
    if file.counts.get("Targets", 1) > 1 and analysis == "regression":
        raise UnsupportedFeatureError("the TMVA model has several targets", hint="Train one forest for each target.")

    gradient = boosting == "Grad"
    leaves = _leaves(file, purity_only=analysis != "classification" or gradient or boosting in _PURITY_ONLY)
    norm = 1.0 if gradient else float(np.cumsum(file.boost_weights)[-1])  # one after the other, as TMVA does
    if norm <= sys.float_info.epsilon:  # TMVA answers 0 then
        weights, norm = [0.0] * n_trees, 1.0
    else:
        weights = [1.0] * n_trees if gradient else file.boost_weights
    trees = [nodes.tree(i % n_outputs, leaves, weights[i]) for i, nodes in enumerate(file.trees)]
    if gradient and analysis == "regression" and file.boost_weights[0]:
        trees.append(_lone_leaf(file.boost_weights[0]))
    link = Link.IDENTITY
    if gradient and analysis == "classification":
        link = Link.TANH_HALF
    elif analysis == "multiclass":
        link = Link.SOFTMAX
    return TreeModel(
        source=Source(FORMAT, "tmva", _version(file.info), analysis, boosting),
        n_features=len(names),
        n_outputs=n_outputs,
        feature_names=names,
        trees=Trees.joined(trees),
        base=np.zeros(n_outputs),
        threshold_dtype="float32",
        sum_dtype="float64",
        link=link,
        divisor=norm,
        classes=tuple(file.classes) if analysis == "multiclass" else (),
    )


def _refuse_transformations(file: _WeightFile) -> None:
    """TMVA transforms variables (and a regression's target) before its trees see them; only the identity changes nothing."""
    named = [name for name in file.transformations if name != "Identity"]
    wanted = file.options.get("VarTransform", "None").strip()
    if not named and wanted in ("", "None", "I"):
        if file.counts.get("Transformations", 0) != len(file.transformations):
            damaged("Transformations", f"has {len(file.transformations)} of {file.counts['Transformations']} transformations")
        return
    what = ", ".join(named) or f"VarTransform={wanted}"
    raise UnsupportedFeatureError(
        f"the TMVA model transforms its variables: {what[:200]}",
        hint="Train with VarTransform=None; a forest of single cuts gains nothing from transforming variables one by one.",
    )


def _refuse_boosting(analysis: str, boosting: str) -> None:
    known = {
        "classification": {"Grad", *_WEIGHTED_MEAN},
        "regression": {"Grad", "AdaBoost", "Bagging"},
        "multiclass": {"Grad"},
    }
    if analysis not in known:
        damaged("GeneralInfo", f"has the AnalysisType {analysis[:40]!r}")
    if boosting == "AdaBoostR2":
        message = "the TMVA model is boosted by AdaBoostR2: it takes a weighted median of its trees, which is no sum"
        raise UnsupportedFeatureError(message, hint="Train with BoostType=Grad.")
    if boosting not in known[analysis]:
        hint = f"Known for {analysis}: {', '.join(sorted(known[analysis]))}."
        raise UnsupportedFeatureError(f"the TMVA boosting {boosting[:40]!r} is not known for {analysis}", hint=hint)


def _leaves(file: _WeightFile, *, purity_only: bool) -> str:
    """Which number of a leaf counts; gradient boosting and regression never look at `UseYesNoLeaf`."""
    weights = file.weights or {}
    key = "TreeType" if "TreeType" in weights else "AnalysisType"  # the first one until TMVA 4.1
    if _integer(weights, key, "Weights") == _REGRESSION_TREES:
        return "response"
    if purity_only or not _flag(file.options, "UseYesNoLeaf", default=True):
        return "purity"
    return "kind"


def _feature_names(file: _WeightFile) -> tuple[str, ...]:
    names: dict[int, str] = {}
    for position, variable in enumerate(file.variables):
        number = _integer(variable, "VarIndex", f"variable {position}", position)
        names[number] = variable.get("Expression", variable.get("Label", ""))
    if len(names) != file.counts.get("Variables") or sorted(names) != list(range(len(names))):
        damaged("Variables", f"has NVar={file.counts.get('Variables')} and {len(file.variables)} variables")
    return tuple(names[number] for number in range(len(names)))


def _lone_leaf(value: float) -> Tree:
    leaf = _Nodes()
    leaf.open("the last tree", {"nType": "-1"})
    leaf.response = [value]
    return leaf.tree(0, "response", 1.0)


def _version(info: Mapping[str, str]) -> str:
    """The release as in ``"4.2.1 [262657]"``."""
    return info.get("TMVA Release", info.get("TMVA", "")).partition("[")[0].strip()


def _purity(attributes: Attributes) -> float:
    if "purity" in attributes:
        return _leaf_number(attributes, "purity")
    # Before TMVA 4.1 files held the weights of signal and background instead; TMVA divides them as floats.
    signal, background = (np.float32(_leaf_number(attributes, key)) for key in ("nS", "nB"))
    with np.errstate(all="ignore"):
        return float(signal / (signal + background))


def _leaf_number(attributes: Attributes, key: str) -> float:
    """A float as a double; NaN where it is none, for the verifier to refuse if the leaf turns out to count."""
    text = attributes.get(key, "").strip()
    with np.errstate(over="ignore"):
        return float(np.float32(float(text))) if _NUMBER.fullmatch(text) else float("nan")


def _float32(attributes: Attributes, key: str, place: str) -> float:
    value = _leaf_number(attributes, key)
    if not np.isfinite(value):
        damaged(place, f"has {key}={attributes.get(key, '')[:40]!r}, which is no finite float")
    return value


def _integer(attributes: Attributes, key: str, place: str, default: int | None = None) -> int:
    text = attributes.get(key, "" if default is None else str(default)).strip()
    if not _INTEGER.fullmatch(text):
        damaged(place, f"has {key}={text[:40]!r}, which is no whole number")
    return int(text)


def _flag(options: Mapping[str, str], key: str, *, default: bool) -> bool:
    text = options.get(key, str(default)).strip().lower()
    if text not in ("true", "false", "1", "0"):
        damaged("Options", f"has {key}={text[:40]!r}, which is neither True nor False")
    return text in ("true", "1")


def _refuse_doctype(*_: Any) -> None:
    damaged("the XML", "declares a document type, which TMVA never writes")
