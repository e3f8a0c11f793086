"""Files as `TMVA::Experimental::SaveXGBoost` leaves them, written by ROOT itself; run as a script in a process of its own.

The ROOT wheel has no TMVA library, so the class RBDT is declared to the interpreter with the members of the real one; ROOT then
streams it as it would the real one. The two layouts' contents come from XGBoost's own model, turned as SaveXGBoost does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

DECLARATION = """
#include <string>
#include <vector>
namespace TMVA { namespace Experimental {
class RBDT final {
public:
   std::vector<int> fRootIndices;
   std::vector<unsigned int> fCutIndices;
   std::vector<float> fCutValues;
   std::vector<int> fLeftIndices;
   std::vector<int> fRightIndices;
   std::vector<float> fResponses;
   std::vector<int> fTreeNumbers;
   std::vector<float> fBaseResponses;
   float fBaseScore = 0;
   bool fLogistic = false;
   ClassDefNV(RBDT, %d);
};
} }
TMVA::Experimental::RBDT model;
template <class T> void fill(std::vector<T>& v, std::vector<double> const& from) { v.assign(from.begin(), from.end()); }
void save(TFile& file, const char* key) { file.WriteObject(&model, key); }
"""

Flat = dict[str, Any]
Levels = dict[str, Any]


def flat(booster: Any, *, n_outputs: int, logistic: bool, base_score: float) -> Flat:
    """The members of RBDT for a booster: cuts and leaves one tree after the other, lone leaves added to the base."""
    members: Flat = {
        name: [] for name in ("RootIndices", "CutIndices", "CutValues", "LeftIndices", "RightIndices", "Responses", "TreeNumbers")
    }
    base = [0.0] * n_outputs
    for number, tree in enumerate(json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]["model"]["trees"]):
        left, condition = tree["left_children"], tree["split_conditions"]
        if left[0] == -1:
            base[number % n_outputs] += condition[0]
            continue
        cuts = [node for node, child in enumerate(left) if child != -1]
        leaves = [node for node, child in enumerate(left) if child == -1]
        position = {node: len(members["CutValues"]) + k for k, node in enumerate(cuts)}
        position |= {node: -(len(members["Responses"]) + k) for k, node in enumerate(leaves)}
        members["RootIndices"].append(len(members["CutValues"]))
        members["TreeNumbers"].append(number)
        members["CutValues"] += [condition[node] for node in cuts]
        members["CutIndices"] += [tree["split_indices"][node] for node in cuts]
        members["LeftIndices"] += [position[left[node]] for node in cuts]
        members["RightIndices"] += [position[tree["right_children"][node]] for node in cuts]
        members["Responses"] += [condition[node] for node in leaves]
    return {**members, "BaseResponses": base, "BaseScore": base_score, "Logistic": logistic}


def levels(booster: Any, *, depth: int, n_outputs: int, n_features: int, objective: str, bias: float | None = None) -> Levels:
    """The vectors of the older layout: full trees with -1 where they end early."""
    inputs: list[int] = []
    thresholds: list[float] = []
    trees = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]["model"]["trees"]
    for tree in trees:
        tree_inputs, tree_thresholds = [-1] * (2**depth - 1), [0.0] * (2 ** (depth + 1) - 1)
        below = [(0, 0)]
        while below:
            node, index = below.pop()
            tree_thresholds[index] = tree["split_conditions"][node]
            if tree["left_children"][node] != -1:
                tree_inputs[index] = tree["split_indices"][node]
                below += [(tree["left_children"][node], 2 * index + 1), (tree["right_children"][node], 2 * index + 2)]
        inputs += tree_inputs
        thresholds += tree_thresholds
    outputs = [i % n_outputs for i in range(len(trees))]
    if bias is not None:
        inputs += [-1] * (2**depth - 1)
        thresholds += [bias] + [0.0] * (2 ** (depth + 1) - 2)
        outputs.append(0)
    return {
        "inputs": inputs,
        "outputs": outputs,
        "thresholds": thresholds,
        "objective": objective,
        "max_depth": [depth],
        "num_trees": [len(outputs)],
        "num_inputs": [n_features],
        "num_outputs": [n_outputs],
    }


def write(
    folder: Path,
    files: dict[str, dict[str, Any]],
    *,
    compression: dict[str, int] | None = None,
    version: int = 1,
    real: str = "float",
) -> None:
    """Write files, each with its models by key, through ROOT.

    Parameters
    ----------
    compression
        ROOT's algorithm times 100 plus level, by file; 101, which is zlib, of all others.
    version
        Of the class RBDT.
    real
        C++ type of thresholds in the older layout.
    """
    (folder / "files.json").write_text(json.dumps([files, compression or {}, version, real]))
    done = subprocess.run([sys.executable, __file__, str(folder)], capture_output=True, text=True, timeout=200)
    if done.returncode:
        raise RuntimeError(done.stderr)


def _main(folder: Path) -> None:
    import ROOT

    files, compression, version, real = json.loads((folder / "files.json").read_text())
    ROOT.gInterpreter.Declare(DECLARATION % version)
    for name, models in files.items():
        file = ROOT.TFile(str(folder / name), "RECREATE")
        file.SetCompressionSettings(compression.get(name, 101))
        for key, model in models.items():
            if "RootIndices" in model:
                for member, value in model.items():
                    text = ",".join(map(repr, value)) if isinstance(value, list) else json.dumps(value)
                    text = text.replace("nan", '__builtin_nan("")').replace("inf", "__builtin_inf()")
                    code = f"fill(model.f{member}, {{{text}}});" if isinstance(value, list) else f"model.f{member} = {text};"
                    ROOT.gInterpreter.ProcessLine(code)
                ROOT.save(file, key)
                continue
            file.mkdir(key)
            for member, value in model.items():
                kind = "std::string" if isinstance(value, str) else f"std::vector<{real if member == 'thresholds' else 'int'}>"
                held = ROOT.std.string(value) if isinstance(value, str) else ROOT.std.vector[kind[12:-1]](value)
                file.Get(key).WriteObjectAny(held, kind, member)
        file.Write()
        file.Close()
    sys.stdout.flush()
    os._exit(0)  # the interpreter's own clean-up is not what is tested


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
