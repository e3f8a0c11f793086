"""The generated C++: equal to the native predictor on random forests, verified conversions, harmless names, stable bytes."""

from __future__ import annotations

import ctypes
import dataclasses
import importlib.util
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlcore.errors import InputError, UnsupportedFeatureError, VerificationError
from mlcore.forests import ConversionReport, CppOptions, Forest, conversion, convert, load
from mlcore.forests.emit import cpp
from mlcore.forests.ir import Link, Source
from mlcore.forests.libraries import REFERENCE
from mlcore.forests.probes import probes
from mlcore.toolchain.compiler import find_compiler
from mlcore.toolchain.sandbox import Limits, run
from tests.mlcore.forests.cpp_models import random_model

Train = Callable[..., Any]
HOSTILE = [
    '*/ system("x"); /*',
    'a"; abort(); "',
    "line\nbreak",
    "back\\slash\\",
    "??/\n#error trigraph",
    "η²\x00",
    "%s%n",
    "\ud800",
    "//",
]


def converted(booster: Any, suffix: str, folder: Path, **options: Any) -> ConversionReport:
    path = folder / f"model.{suffix}"
    booster.save_model(path)
    output = folder / "out"
    output.mkdir()
    return convert(path, output, n_probes=2000, **options)


@pytest.mark.parametrize(
    ("library", "parameters"),
    [
        ("xgboost", {"objective": "multi:softprob", "categorical": True}),
        pytest.param("xgboost", {"booster": "dart", "objective": "binary:logistic", "rate_drop": 0.5}, marks=pytest.mark.slow),
        ("lightgbm", {"objective": "binary", "categorical": True, "zero_as_missing": True, "min_data_per_group": 10}),
    ],
    ids=["xgboost", "dart", "lightgbm"],
)
def test_a_conversion_is_verified_end_to_end(
    library: str, parameters: dict[str, Any], xgboost_booster: Train, lightgbm_booster: Train, tmp_path: Path
) -> None:
    booster = {"xgboost": xgboost_booster, "lightgbm": lightgbm_booster}[library](**parameters)
    steps: list[float] = []
    lines: list[str] = []
    report = converted(
        booster,
        "ubj" if library == "xgboost" else "txt",
        tmp_path,
        options=CppOptions("trigger", "hlt::trigger"),
        progress=lambda fraction, text: steps.append(fraction),
        log=lines.append,
    )
    assert steps == sorted(steps)
    assert steps[-1] == 1
    assert any("identical" in line for line in lines)
    assert report.n_inputs == 4000
    margins = [
        item for item in report.agreements if item.quantity.startswith("margin") and not item.quantity.endswith("infinities")
    ]
    assert len(margins) == 4
    assert all(item.n_identical == item.n_values > 0 and item.max_difference == 0 for item in margins)
    assert json.loads(json.dumps(report.to_json()))["archive"] == "trigger.zip"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["trigger", "trigger.zip"]  # no build left behind

    # The zip elsewhere, with a plain compiler command.
    elsewhere = tmp_path / "elsewhere"
    with zipfile.ZipFile(report.archive) as bundle:
        bundle.extractall(elsewhere)
    folder = elsewhere / "trigger"
    assert sorted(path.name for path in folder.iterdir()) == [
        "CMakeLists.txt", "README.md", "main.cpp", "selftest.cpp", "selftest_data.hpp", "trigger.hpp",
    ]  # fmt: skip
    compiler = find_compiler()
    compiler.build([folder / "selftest.cpp"], folder / "selftest", flags=("-std=c++17",))
    limits = Limits(cpu_seconds=20)
    passed = run([folder / "selftest"], cwd=folder, limits=limits)
    assert (passed.returncode, passed.stdout[:7]) == (0, "passed:")

    # The self-test can fail.
    data = folder / "selftest_data.hpp"
    before, mark, after = data.read_text().partition("margin_bits[] = {\n")
    data.write_text(before + mark + "0x3f9df3b6u" + after[after.index(",") :])
    compiler.build([folder / "selftest.cpp"], folder / "selftest", flags=("-std=c++17",))
    failed = run([folder / "selftest"], cwd=folder, limits=limits)
    assert failed.returncode == 1
    assert "instead of" in failed.stdout


DATA = Path(__file__).parents[2] / "data" / "forests"


@pytest.mark.parametrize(
    "file",
    [
        "treelite/lgb_categories.json",
        pytest.param("treelite/xgb_vectors.json", marks=pytest.mark.slow),
        pytest.param("catboost/multiclass.json", marks=pytest.mark.slow),
        pytest.param("onnx/skl_forest_of_two_classes.onnx", marks=pytest.mark.slow),
        pytest.param("skops/gradient_boosting.skops", marks=pytest.mark.slow),
        pytest.param("skops/histograms.skops", marks=pytest.mark.slow),
    ],
)
def test_every_format_is_converted(file: str, tmp_path: Path) -> None:
    """Held against scikit-learn for its own files and against the NumPy reference where no library opens the file."""
    report = convert(DATA / file, tmp_path, n_probes=400)
    assert report.library.startswith("scikit-learn" if file.startswith("skops") else REFERENCE)
    assert (report.library_microseconds_per_row > 0) == file.startswith("skops")
    assert report.n_inputs > 0
    assert all(item.n_identical == item.n_values for item in report.agreements if item.quantity.startswith("margin"))


def test_the_output_folder_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = (DATA / "treelite/lgb_categories.json").resolve()
    monkeypatch.chdir(tmp_path)
    assert convert(path, Path(), n_probes=20).header.is_relative_to(tmp_path.resolve())


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="needs the wheel ziglang")
def test_clang_gives_the_same_sums(xgboost_booster: Train, tmp_path: Path) -> None:
    """Slow where zig has no standard library in its cache yet."""
    report = converted(xgboost_booster(objective="binary:logistic"), "json", tmp_path, compiler=find_compiler("zig c++"))
    assert "clang" in report.compiler
    margins = [item for item in report.agreements if item.quantity.startswith("margin")]
    assert margins
    assert all(item.n_identical == item.n_values for item in margins)


def test_models_in_process_and_saved_ones_are_converted(lightgbm_booster: Train, tmp_path: Path) -> None:
    """Their own library does not open them, so the reference decides."""
    booster = lightgbm_booster(objective="binary")
    saved = load(booster).save(tmp_path / "model.forest")
    for name, model in (("object", booster), ("file", saved)):
        (tmp_path / name).mkdir()
        report = convert(model, tmp_path / name, n_probes=400)
        assert report.library == REFERENCE
        assert all(item.n_identical == item.n_values for item in report.agreements if item.quantity.startswith("margin"))


def test_the_example_reads_files_with_header_and_gaps(xgboost_booster: Train, tmp_path: Path) -> None:
    booster = xgboost_booster(objective="binary:logistic")
    forest = load(booster)
    report = converted(booster, "json", tmp_path, options=CppOptions("demo"))
    main = report.header.parent / "main.cpp"
    find_compiler().build([main], tmp_path / "demo", flags=("-std=c++17",))
    rows = tmp_path / "rows.csv"
    rows.write_text("a,b,c,d,e,f\n1,,nan,0.25,-1e30,inf\r\n\n 0, 0 ,0,0,0,0\n")
    limits = Limits(cpu_seconds=20)
    outcome = run([tmp_path / "demo", rows], cwd=tmp_path, limits=limits)
    wanted = forest.predict(np.array([[1, np.nan, np.nan, 0.25, -1e30, np.inf], [0] * 6], np.float32))
    np.testing.assert_allclose(np.array(outcome.stdout.split(), float), wanted, rtol=1e-6)
    rows.write_text("1,2,3\n")
    outcome = run([tmp_path / "demo", rows], cwd=tmp_path, limits=limits)
    assert outcome.returncode == 1
    assert "line 1: 6 numbers are needed" in outcome.stderr
    assert run([tmp_path / "demo", "nowhere"], cwd=tmp_path, limits=limits).returncode == 1


def test_hostile_names_stay_inside_their_literals(tmp_path: Path) -> None:
    """Compiled with trigraphs on, each name comes back byte for byte."""
    model = dataclasses.replace(
        random_model(1, link=Link.IDENTITY, precision=("float32", "float32")),
        n_features=len(HOSTILE),
        feature_names=tuple(HOSTILE),
        source=Source("random", "xgboost", '*/\nsystem("x") \\', "??/\nevil", "\u2028"),
    )
    text = cpp.header(model, CppOptions("hostile"))
    assert text.isascii()
    (tmp_path / "hostile.hpp").write_text(text)
    source = tmp_path / "names.cpp"
    source.write_text(
        '#include <cstdio>\n#include "hostile.hpp"\nint main() {\n'
        '  for (const char* name : hostile::feature_names) std::printf("%s|", name);\n}\n'
    )
    find_compiler().build([source], tmp_path / "names", flags=("-std=c++17", "-trigraphs", "-Wall", "-Werror"))
    outcome = run([tmp_path / "names"], cwd=tmp_path, limits=Limits(cpu_seconds=20))
    printed = "|".join(name.partition("\x00")[0] for name in HOSTILE) + "|"
    assert outcome.stdout == printed.encode("utf-8", "surrogatepass").decode(errors="replace")


@pytest.mark.parametrize(
    "name", ["", "1st", "a b", "a-b", "class", "std", "a__b", "_A", "../x", "a;b", 'x"', "ä", "a" * 65, "selftest", "a\n", "main"]
)
def test_names_that_are_no_identifiers_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="no C\\+\\+ identifier"):
        CppOptions(name)
    if name:
        with pytest.raises(InputError, match="no C\\+\\+ identifier"):
            CppOptions("fine", namespace=f"outer::{name}")


def test_equal_models_give_equal_archives() -> None:
    def build() -> bytes:
        model = random_model(4, link=Link.SIGMOID, precision=("float32", "float32"))
        rows = probes(model, dtype="float32", n_rows=8)
        forest = Forest(model)
        shape = (-1, 1)
        margins, predictions = forest.margin(rows).reshape(shape), forest.predict(rows).reshape(shape)
        references = cpp.References(rows, margins, predictions, 0.0, 1e-6, "XGBoost")
        return cpp.archive(cpp.project(model, CppOptions("same"), references), "same")

    assert build() == build()
    with zipfile.ZipFile(io.BytesIO(build())) as bundle:
        assert {entry.date_time[0] for entry in bundle.infolist()} == {1980}


def test_a_disagreement_is_our_defect(xgboost_booster: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A header that decides the other way at a threshold is caught, and nothing is left to take away."""
    written = cpp.header
    monkeypatch.setattr(
        cpp, "header", lambda *given: written(*given).replace("_mm_cmpge_ps", "_mm_cmpgt_ps").replace(">= cut", "> cut")
    )
    with pytest.raises(VerificationError, match="differ from the source library"):
        converted(xgboost_booster(), "json", tmp_path)
    assert not list((tmp_path / "out").iterdir())


def test_a_wrong_reading_is_caught(xgboost_booster: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shifted(path: Path, **given: Any) -> Forest:
        model = load(path, **given).model
        return Forest(dataclasses.replace(model, base=np.nextafter(model.base, np.float32(np.inf))))

    monkeypatch.setattr(conversion, "load", shifted)
    with pytest.raises(VerificationError, match="native margin"):
        converted(xgboost_booster(), "json", tmp_path)


def test_the_output_folder_must_be_free(xgboost_booster: Train, tmp_path: Path) -> None:
    (tmp_path / "out" / "forest").mkdir(parents=True)
    path = tmp_path / "model.json"
    xgboost_booster(rounds=1).save_model(path)
    with pytest.raises(InputError, match="in the output folder already"):
        convert(path, tmp_path / "out", n_probes=10)


def test_two_libraries_in_one_process_keep_their_own_tables(tmp_path: Path) -> None:
    """Forests of one namespace in two loaded libraries are not mixed up."""
    compiler = find_compiler()
    answers = {}
    libraries = []
    for seed in (1, 2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        model = random_model(seed, link=Link.IDENTITY, precision=("float32", "float32"))
        (folder / "forest.hpp").write_text(cpp.header(model, CppOptions("forest")))
        (folder / "forest.cpp").write_text(
            '#include "forest.hpp"\nextern "C" float sum(const float* row) { return forest::margin(row); }\n'
        )
        compiler.build([folder / "forest.cpp"], folder / "forest.so", flags=("-std=c++17", "-shared", "-fPIC"))
        libraries.append(ctypes.CDLL(str(folder / "forest.so")))
        libraries[-1].sum.restype = ctypes.c_float
        answers[seed] = Forest(model).margin(np.zeros((1, 5), np.float32))[0]
    row = np.zeros(5, np.float32)
    for library, answer in zip(libraries, answers.values(), strict=True):
        assert library.sum(ctypes.c_void_p(row.ctypes.data)) == answer
    assert len(set(answers.values())) == 2


def test_too_wide_a_forest_is_refused() -> None:
    model = random_model(1, link=Link.IDENTITY, precision=("float32", "float32"))
    with pytest.raises(UnsupportedFeatureError, match="100000 features"):
        cpp.check_size(dataclasses.replace(model, n_features=100_000))


@pytest.mark.slow
def test_the_cmake_project_builds_tests_and_installs(xgboost_booster: Train, tmp_path: Path) -> None:
    """Another project finds the installed header by find_package."""
    report = converted(xgboost_booster(objective="binary:logistic"), "json", tmp_path, options=CppOptions("higgs"))
    user = tmp_path / "user"
    user.mkdir()
    (user / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.14)\nproject(user LANGUAGES CXX)\nfind_package(higgs 1.0 REQUIRED)\n"
        "add_executable(user user.cpp)\ntarget_link_libraries(user PRIVATE higgs::higgs)\n"
    )
    (user / "user.cpp").write_text(
        "#include <higgs.hpp>\nint main() { float x[higgs::n_features] = {}; return higgs::predict(x) > 1; }\n"
    )
    project = report.header.parent
    for command in (
        ["cmake", "-S", project, "-B", "build", f"-DCMAKE_INSTALL_PREFIX={tmp_path}/installed"],
        ["cmake", "--build", "build"],
        ["ctest", "--test-dir", "build", "--output-on-failure"],
        ["cmake", "--install", "build"],
        ["cmake", "-S", "user", "-B", "built", f"-DCMAKE_PREFIX_PATH={tmp_path}/installed"],
        ["cmake", "--build", "built"],
        [tmp_path / "built" / "user"],
    ):
        outcome = run(command, cwd=tmp_path, writable=[tmp_path], limits=Limits(cpu_seconds=120))
        assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_names_and_the_best_iteration_go_through_a_conversion(tmp_path: Path) -> None:
    import xgboost

    rng = np.random.default_rng(1)
    x = rng.normal(size=(600, 3)).astype(np.float32)
    y = (x[:, 0] + rng.normal(size=600) > 0).astype(int)
    names = ["pt", '*/ system("x"); /*', "η\n"]
    model = xgboost.XGBClassifier(n_estimators=40, early_stopping_rounds=3, max_depth=3, n_jobs=1)
    model.fit(x[:300], y[:300], eval_set=[(x[300:], y[300:])], verbose=False)
    model.get_booster().feature_names = names
    report = converted(model, "json", tmp_path)
    assert report.n_trees == model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    header = report.header.read_text()
    assert all(cpp.literal(name) in header for name in names)
    assert "system(" not in header.replace(cpp.literal(names[1]), "")
