"""TMVA weight files for the tests: a writer in TMVA's layout, and TMVA's own evaluation of them written out plainly.

No wheel of ROOT with TMVA's library exists, so the oracle is `evaluate`: it reads the XML with another parser than the frontend
does and follows one event down one node after the other.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

import numpy as np

f32 = np.float32
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Recipe:
    """What to write.

    Attributes
    ----------
    analysis, boosting
        As TMVA names them.
    regression_trees
        What the trees themselves say that they are.
    """

    analysis: str = "Classification"
    boosting: str = "AdaBoost"
    yes_no: bool = True
    regression_trees: bool = False
    n_trees: int = 6
    depth: int = 4
    n_features: int = 4
    n_classes: int = 3
    seed: int = 0


RECIPES = {
    "AdaBoost": Recipe(),
    "RealAdaBoost": Recipe(yes_no=False),
    "Bagging": Recipe(boosting="Bagging", yes_no=False),
    "AdaCost": Recipe(boosting="AdaCost", yes_no=False),
    "Grad": Recipe(boosting="Grad", regression_trees=True),
    "multi-class": Recipe("Multiclass", "Grad", regression_trees=True),
    "regression": Recipe("Regression", "Grad", regression_trees=True),
    "regression, AdaBoost": Recipe("Regression", "AdaBoost", yes_no=False, regression_trees=True),
}


def write(recipe: Recipe) -> str:
    """A weight file with random trees."""
    draw = random.Random(recipe.seed)
    n_trees = recipe.n_trees * (recipe.n_classes if recipe.analysis == "Multiclass" else 1)
    options = {"BoostType": recipe.boosting, "UseYesNoLeaf": recipe.yes_no, "VarTransform": "None", "DoPreselection": False}
    names = ["var1+var2", "pt<10 && eta>0", 'quoted "name"', "x"] + [f"v{i}" for i in range(4, recipe.n_features)]
    lines = [
        '<?xml version="1.0"?>',
        '<MethodSetup Method="BDT::BDTtest">',
        "  <GeneralInfo>",
        '    <Info name="TMVA Release" value="4.2.1 [262657]"/>',
        '    <Info name="ROOT Release" value="6.28/00 [400384]"/>',
        f'    <Info name="AnalysisType" value="{recipe.analysis}"/>',
        "  </GeneralInfo>",
        "  <Options>",
        *(f'    <Option name="{name}" modified="Yes">{value}</Option>' for name, value in options.items()),
        "  </Options>",
        f'  <Variables NVar="{recipe.n_features}">',
        *(
            f'    <Variable VarIndex="{i}" Expression={quoteattr(names[i])} Label={quoteattr(names[i])} Title="" Unit=""'
            f' Internal="v{i}" Type="F" Min="-1.0e+00" Max="1.0e+00"/>'
            for i in range(recipe.n_features)
        ),
        "  </Variables>",
        '  <Spectators NSpec="1">',
        '    <Spectator SpecIndex="0" Expression="event" Label="event" Title="" Unit="" Internal="event" Type="F"/>',
        "  </Spectators>",
    ]
    classes = [f"class {i}" for i in range(recipe.n_classes)] if recipe.analysis == "Multiclass" else ["Signal", "Background"]
    lines += [f'  <Classes NClass="{len(classes)}">']
    lines += [f'    <Class Name="{name}" Index="{i}"/>' for i, name in enumerate(classes)] + ["  </Classes>"]
    if recipe.analysis == "Regression":
        lines += ['  <Targets NTrgt="1">', '    <Target TargetIndex="0" Expression="e" Internal="e" Type="F"/>', "  </Targets>"]
    lines += ['  <Transformations NTransformations="0"/>', "  <MVAPdfs/>"]
    lines += [f'  <Weights NTrees="{n_trees}" AnalysisType="{int(recipe.regression_trees)}">']
    for i in range(n_trees):
        weight = number(draw.uniform(0.05, 1.5))
        lines.append(f'    <BinaryTree type="DecisionTree" boostWeight="{weight}" itree="{i}">')
        lines += node(draw, recipe, "s", 0)
        lines.append("    </BinaryTree>")
    return "\n".join([*lines, "  </Weights>", "</MethodSetup>", ""])


def node(draw: random.Random, recipe: Recipe, position: str, depth: int) -> list[str]:
    leaf = depth == recipe.depth or (depth > 0 and draw.random() < 0.25)
    cut = 0.0 if leaf else draw.choice([0.0, draw.gauss(0, 1), draw.gauss(0, 1e-3), draw.gauss(0, 1e20)])
    fields = {
        "pos": position,
        "depth": depth,
        "NCoef": 0,
        "IVar": -1 if leaf else draw.randrange(recipe.n_features),
        "Cut": number(cut),
        "cType": draw.randrange(2),
        "res": number(draw.gauss(0, 0.1)),
        "rms": number(0.0),
        "purity": number(draw.random()),
        "nType": draw.choice([-1, 1]) if leaf else 0,
    }
    text = "      " + "  " * depth + "<Node " + " ".join(f'{key}="{value}"' for key, value in fields.items())
    if leaf:
        return [text + "/>"]
    below = [line for side in "lr" for line in node(draw, recipe, side, depth + 1)]
    return [text + ">", *below, "      " + "  " * depth + "</Node>"]


def number(value: float) -> str:
    """A float as TMVA writes it."""
    return f"{float(f32(value)):.16e}"


def thresholds(xml: str) -> list[np.float32]:
    return [f32(float(n.attrib["Cut"])) for n in ET.fromstring(xml).iter("Node") if n.attrib["nType"] == "0"]  # noqa: S314 - of our own writing


def evaluate(xml: str, rows: Array) -> tuple[Array, Array]:
    """Sums and predictions, shape (n_rows, n_outputs), double."""
    root = ET.fromstring(xml)  # noqa: S314 - of our own writing
    info = {item.attrib["name"]: item.attrib["value"] for item in root.iter("Info")}
    options = {item.attrib["name"]: item.text for item in root.iter("Option")}
    weights = root.find("Weights")
    assert weights is not None
    trees = [(float(f32(tree.attrib["boostWeight"])), tree[0]) for tree in weights]
    regression_trees = weights.attrib["AnalysisType"] == "1"
    yes_no = options["UseYesNoLeaf"] == "True"
    n_classes = len(root.findall("Classes/Class"))
    rows = rows.astype(f32)

    def check_event(tree: ET.Element, event: Array, *, use_yes_no: bool) -> float:
        current = tree
        while int(current.attrib["nType"]) == 0:
            right = bool(event[int(current.attrib["IVar"])] >= f32(current.attrib["Cut"]))
            if current.attrib["cType"] == "0":
                right = not right
            current = next(child for child in current if child.attrib["pos"] == ("r" if right else "l"))
        if regression_trees:
            return float(f32(current.attrib["res"]))
        return float(current.attrib["nType"]) if use_yes_no else float(f32(current.attrib["purity"]))

    sums, predictions = [], []
    for event in rows:
        if info["AnalysisType"] == "Multiclass":
            scores = [0.0] * n_classes
            for i, (_, tree) in enumerate(trees):
                scores[i % n_classes] += check_event(tree, event, use_yes_no=False)
            sums.append(scores)
            predictions.append(
                [
                    1 / (1 + sum(math.exp(other - score) for j, other in enumerate(scores) if j != i))
                    for i, score in enumerate(scores)
                ]
            )
            continue
        gradient = options["BoostType"] == "Grad"
        classify = info["AnalysisType"] == "Classification"
        total = norm = 0.0
        for weight, tree in trees:
            leaf = check_event(tree, event, use_yes_no=yes_no and classify and not gradient)
            total += leaf if gradient else weight * leaf
            norm += weight
        if gradient and not classify:
            total += trees[0][0]
        sums.append([total])
        if gradient:
            predictions.append([2 / (1 + math.exp(-2 * total)) - 1 if classify else total])
        else:
            predictions.append([total / norm if norm > np.finfo(float).eps else 0.0])
    return np.array(sums), np.array(predictions)
