"""The matrix, from a model's file to a report: real engines behind C and behind Python, and runs that go on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlcore.benchmarks import boosted, engines, matrix, zoo
from mlcore.benchmarks.cases import Subject, fixed, make_cases
from mlcore.benchmarks.cells import Cell, Key, Settings
from mlcore.benchmarks.engines import Site
from mlcore.benchmarks.report import Report
from mlcore.errors import DataError, InputError
from tests.mlcore.networks.models import mlp

BRIEF = Settings(repetitions=3, seconds=0.001, repeats=0, patience=0.2)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tagger.onnx"
    path.write_bytes(mlp().SerializeToString())
    return path


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import xgboost

    path = tmp_path_factory.mktemp("forest") / "bdt.ubj"
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(300, 4)).astype(np.float32)
    options = {"objective": "binary:logistic", "max_depth": 3, "nthread": 1}
    xgboost.train(options, xgboost.DMatrix(rows, rows[:, 0] > rows[:, 1]), 6).save_model(path)
    return path


def test_every_engine_says_what_it_is() -> None:
    found = [engines.get(name) for name in engines.names()]
    assert [engine.name for engine in found] == list(engines.names())
    assert len({engine.title for engine in found}) == len(found)
    for engine in found:
        assert engine.install, engine.name
        assert engine.driver in ("native", "python")
    assert {kind for engine in found for kind in engine.kinds} == {"network", "forest"}
    with pytest.raises(DataError, match="no engine 'onnxruntme_c'") as raised:
        engines.get("onnxruntme_c")
    assert "onnxruntime_c" in raised.value.hint


def test_all_models_can_be_named() -> None:
    assert [subject.name for subject in matrix.subjects()] == [*zoo.names(), *boosted.names()]
    with pytest.raises(DataError, match="no model 'mlp'"):
        matrix.subjects(["mlp"])


def test_a_network_of_somebodys_own(network: Path, site: Site) -> None:
    subject = matrix.subject_of(network, title="my tagger.onnx")
    assert (subject.name, subject.kind) == ("my_tagger.onnx", "network")
    plan = matrix.Plan((subject,), ("own_portable", "onnxruntime_c", "onnxruntime_python", "torch_eager"), (1, 8), (1,), BRIEF)
    kept: list[Report] = []
    told: list[tuple[float, str]] = []
    report = matrix.run(plan, site, keep=kept.append, progress=lambda part, text: told.append((part, text)))
    by_status = {key: cell.status for key, cell in report.by_key.items()}
    for batch in (1, 8):
        for engine in ("own_portable", "onnxruntime_c", "onnxruntime_python"):
            cell = report.cell(subject.name, engine, batch, 1)
            assert cell is not None
            assert cell.status == "measured", cell.reason
            assert cell.wall is not None
            assert cell.wall.median > 0
            assert cell.memory is not None
        assert by_status[Key(subject.name, "torch_eager", batch, 1)] == "refused"
    own = report.cell(subject.name, "own_portable", 1, 1)
    assert own is not None
    assert own.memory is not None
    assert own.memory.allocated == 0  # the generated code takes nothing from the heap
    assert own.convert is not None
    assert report.models[0].weights > 0
    assert [len(each.cells) for each in kept] == [4, 8]
    assert told[-1] == (1.0, "Done")
    assert [part for part, _ in told] == sorted(part for part, _ in told)


def test_a_forest_of_somebodys_own(forest: Path, site: Site) -> None:
    subject = matrix.subject_of(forest)
    plan = matrix.Plan((subject,), ("own_forest", "own_portable", "xgboost", "onnxruntime_c", "lightgbm"), (4,), (1,), BRIEF)
    report = matrix.run(plan, site)
    found = {cell.key.engine: cell for cell in report.cells}
    assert report.models[0].reference.startswith("XGBoost")
    assert found["xgboost"].status == found["onnxruntime_c"].status == "measured", found
    if "without their C API" not in found["own_forest"].reason:
        assert found["own_forest"].status == "measured", found["own_forest"].reason
    assert found["own_portable"].reason == "runs networks only"
    assert found["lightgbm"].status == "refused"


def test_a_run_goes_on_with_what_is_missing(network: Path, site: Site) -> None:
    subject = matrix.subject_of(network)
    plan = matrix.Plan((subject,), ("onnxruntime_python",), (1, 2), (1,), BRIEF)
    whole = matrix.run(plan, site)
    marked = Cell(whole.cells[0].key, "failed", "as it was before")
    before = Report(whole.created, whole.machine, whole.settings, whole.models, whole.engines, (marked,))
    after = matrix.run(plan, site, before=before)
    assert after.cells[0] == marked  # not measured again
    assert after.cells[1].status == "measured"
    assert after.created == whole.created


def test_what_cannot_be_prepared_is_a_reason(tmp_path: Path, site: Site) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"\x08\x08nothing of a model")
    subject = Subject("broken", "onnx", str(path))
    report = matrix.run(matrix.Plan((subject,), ("onnxruntime_python",), (1,), (1,), BRIEF), site)
    assert report.cells[0].status == "refused"
    assert report.cells[0].reason


def test_free_sizes_of_a_file_become_numbers() -> None:
    from onnx import TensorProto, helper

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", "particles", 3, None])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "particles", 3, None])
    model = helper.make_model(helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y]))
    found = fixed(model, 5, {"particles": 7})
    assert [axis.dim_value for axis in found.graph.input[0].type.tensor_type.shape.dim] == [5, 7, 3, 16]
    with pytest.raises(InputError, match="fixed batch of 5"):
        fixed(found, 6, {})


def test_a_case_is_made_once(network: Path, tmp_path: Path) -> None:
    subject = matrix.subject_of(network)
    first = make_cases(subject, [2], tmp_path)[2]
    assert not isinstance(first, str)
    stamp = (first.folder / "case.json").stat().st_mtime_ns
    second = make_cases(subject, [2], tmp_path)[2]
    assert not isinstance(second, str)
    assert (second.folder / "case.json").stat().st_mtime_ns == stamp
    assert next(iter(second.inputs.values())).shape[0] == 2


def test_another_file_of_the_same_name_is_another_case(tmp_path: Path) -> None:
    path = tmp_path / "tagger.onnx"
    path.write_bytes(mlp(seed=0).SerializeToString())
    first = make_cases(matrix.subject_of(path), [1], tmp_path / "cases")[1]
    path.write_bytes(mlp(seed=1).SerializeToString())
    second = make_cases(matrix.subject_of(path), [1], tmp_path / "cases")[1]
    assert not isinstance(first, str)
    assert not isinstance(second, str)
    assert second.differs(first.expected)


def test_what_engines_make_is_made_anew_in_each_run(network: Path, tmp_path: Path) -> None:
    plan = matrix.Plan((matrix.subject_of(network),), ("onnxruntime_python",), (1,), (1,), BRIEF)
    matrix.run(plan, Site(tmp_path))
    assert not list(tmp_path.glob("made*"))


@pytest.mark.parametrize("batches", [(), (0,), (2000,)])
def test_a_plan_has_sizes_that_can_be_measured(network: Path, batches: tuple[int, ...]) -> None:
    with pytest.raises(InputError):
        matrix.Plan((matrix.subject_of(network),), ("own_portable",), batches)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp_5x50", "particlenet"])
def test_networks_of_the_zoo_are_answered_rightly_by_all(name: str, site: Site) -> None:
    chosen = tuple(each for each in engines.names() if "network" in engines.get(each).kinds)
    report = matrix.run(matrix.Plan(matrix.subjects([name]), chosen, (1,), (1,), BRIEF), site)
    for cell in report.cells:
        assert cell.status in ("measured", "absent", "refused"), (cell.key, cell.reason)
    assert sum(cell.status == "measured" for cell in report.cells) >= 4
