"""Showers as jobs: simulated in parts, trained, sampled, evaluated, looked at; a training cancelled and gone on with.

Most of it runs the job types in this process, without a worker's child; what a worker adds is tested at the end.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import h5py
import numpy as np
import pytest
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse
from safetensors.torch import load_file

from mlcore import filetypes
from mlcore.errors import InputError, MLCoreError
from mlcore.showers import dataset
from mlcore.showers.geometry import CALORIMETERS
from mlcore.showers.models.gflash import GFlash, GFlashConfig, Medium
from mlcore.showers.voxels import Voxels
from portal.jobs import registry, services
from portal.jobs.context import JobContext
from portal.jobs.models import Job, JobState, Kept
from portal.jobs.shower_inputs import CALORIMETER_TITLES, CalorimeterName
from portal.jobs.types import shower_simulate
from portal.library import services as library
from portal.library.models import LibraryFile
from tests.portal.pages import check_page

RunNow = Callable[[Job], Job]
GRID = Voxels.regular(layers=6, layer_depth=25.0, angles=4, rings=3, ring_width=14.0)
GEANT4 = importlib.util.find_spec("geant4_pybind") is not None
SMALL = """
name: small
layers:
  - repeat: 6
    slabs:
      - {material: W, thickness: 20.0}
      - {material: Si, thickness: 5.0, sensitive: true}
voxels: {layers: 6, layer_depth: 25.0, angles: 4, rings: 3, ring_width: 14.0}
calibration: 20
"""


def showers(path: Path, count: int = 240, seed: int = 1, name: str = "dataset2") -> Path:
    """Showers as a simulation would have written them, by GFlash, which takes no time."""
    energy = 1e3 * np.exp(np.random.default_rng(seed).uniform(0, np.log(10), count))
    model = GFlash(GFlashConfig(Medium.of(CALORIMETERS["dataset2"], resolution=0.13), GRID))
    records = dataset.Records.of(model.sample(energy, seed=seed), energy, GRID, geometries=(name,))
    dataset.write(path, records, metadata={"simulation": "stands for Geant4", "cpu_seconds": 0.02 * count})
    return path


@dataclass
class Ran:
    """A run in this process: its result as the database would have it, its files, and what it said."""

    result: dict[str, Any]
    files: dict[str, Path]
    messages: list[dict[str, Any]]

    def __getitem__(self, kind: str) -> str:
        """The path of the file of that kind."""
        (found,) = [message["artifact"] for message in self.messages if message.get("artifact", {}).get("kind") == kind]
        return str(self.files[found["name"]])

    @property
    def titles(self) -> list[str]:
        return [plot["title"] for plot in self.result["plots"]]


class Here:
    """Runs job types, each in a folder of its own; files are given by their paths."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0

    def __call__(self, slug: str, *, kept: dict[str, Path] | None = None, **params: Any) -> Ran:
        self.count += 1
        out = self.folder / f"{self.count}-{slug}"
        out.mkdir()
        job_type = registry.get(slug)
        files = {one: Path(one) for named in job_type.files_of(params).values() for one in named}
        messages: list[dict[str, Any]] = []
        context = JobContext(out, files, messages.append, kept=kept or {})
        result = job_type.run(context, job_type.parse(params)).to_json()
        made = [message["artifact"] for message in messages if "artifact" in message]
        json.dumps(result)
        return Ran(result, {one["name"]: out / one["path"] for one in made}, messages)


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> str:
    return str(showers(tmp_path / "train.h5"))


# --- simulate -------------------------------------------------------------------------------------------------------------------


def test_the_form_offers_every_shipped_calorimeter() -> None:
    assert set(get_args(CalorimeterName)) == set(CALORIMETERS) == set(CALORIMETER_TITLES)


def test_all_doors_know_the_job_types() -> None:
    for slug in ("simulate", "validate", "train", "adapt", "distill", "sample", "evaluate", "inspect", "to-cpp"):
        job_type = registry.get(f"shower-{slug}")
        assert job_type.listed
        assert job_type.phrases
    assert not registry.get("shower-simulate-part").listed
    assert next(iter(registry.get("shower-train").schema()["properties"])) == "files"


@pytest.mark.django_db
def test_many_showers_are_simulated_in_parts(person: Any) -> None:
    job = services.submit(person, "shower-simulate", {"showers": 4000, "lowest": 1, "highest": 10})
    parts = list(job.parts.order_by("part"))
    assert {part.type for part in parts} == {"shower-simulate-part"}
    shard = registry.get("shower-simulate").parse(job.params).shard  # type: ignore[attr-defined]
    assert [part.params["number"] for part in parts] == list(range(-(-4000 // shard)))
    assert len(parts) > 1
    assert not services.submit(person, "shower-simulate", {"showers": 50}).parts.exists()


@pytest.mark.skipif(not GEANT4, reason="Geant4 comes for Linux on x86-64 alone")
def test_showers_are_simulated(here: Here, tmp_path: Path) -> None:
    geometry = tmp_path / "small.yaml"
    geometry.write_text(SMALL)
    asked = {"geometry": str(geometry), "showers": 12, "lowest": 0.2, "highest": 0.5, "physics": "data-free"}
    ran = here("shower-simulate", **asked)
    with h5py.File(ran["showers"]) as file:
        energies = file["incident_energies"][:, 0]
        assert file["showers"].shape == (12, 72)
        assert ((energies >= 200) & (energies <= 500)).all()
        assert "data-free" in json.loads(file.attrs["metadata"])["physics"]
        whole = file["showers"][:]
    assert ran.result["facts"]["showers"] == 12
    assert ran.result["events"][0]["file"] == "events.json"
    part = here("shower-simulate-part", **asked, number=0)
    with h5py.File(part["shard"]) as file:
        assert (file["showers"][:] == whole).all()


@pytest.mark.skipif(not GEANT4, reason="Geant4 comes for Linux on x86-64 alone")
def test_a_simulation_is_validated(here: Here, tmp_path: Path) -> None:
    geometry = tmp_path / "small.yaml"
    geometry.write_text(SMALL)
    ran = here("shower-validate", geometry=str(geometry), energies=[1, 0.5], showers=20)
    report = json.loads(Path(ran["numbers"]).read_text())
    assert [point["energy"] for point in report["points"]] == [0.5, 1]
    assert ran.result["facts"]["stochastic"] == report["stochastic"] > 0
    assert Path(ran["report"]).read_bytes().startswith(b"%PDF")
    (table,) = ran.result["tables"]
    assert [row[0] for row in table["rows"]] == ["0.5", "1"]


def test_a_joined_file_is_that_of_one_run(tmp_path: Path) -> None:
    from mlcore.showers.dataset import ShowerFile, Writer
    from mlcore.showers.fullsim import Plan

    plan = Plan(CALORIMETERS["dataset2"], 30)
    voxels = plan.calorimeter.voxels
    paths = []
    for number in range(3):
        paths.append(tmp_path / f"part-{number}")
        values = np.full((10, *voxels.shape), number, np.float32)
        records = dataset.Records.of(values, np.full(10, 1e3 + number), voxels, geometries=("dataset2",))
        origin = {"cpu_seconds": 1.5, "shard": number}
        with Writer(paths[-1], voxels, ("dataset2",), metadata=origin, extra=("outside",)) as writer:
            writer.append(records, extra={"outside": np.full(10, float(number))})
    made, said = shower_simulate.joined(paths, tmp_path / "all.h5", plan)
    assert said == {"cpu_seconds": 4.5, "shards": 3}
    assert dataset.read(made).energy.tolist() == [1e3 + number for number in range(3) for _ in range(10)]
    assert ShowerFile.open(made).column("outside").tolist() == [float(number) for number in range(3) for _ in range(10)]
    with pytest.raises(InputError, match="parts of this simulation are missing"):
        shower_simulate.joined(paths[:2], tmp_path / "some.h5", plan)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lowest": 5, "highest": 1}, "The lowest energy, 5 GeV, is above the highest, 1 GeV."),
        ({"theta_lowest": 100, "theta_highest": 50}, "The lowest θ"),
        ({"showers": 0}, "greater than or equal to 1"),
        ({"calorimeter": "atlas"}, "'dataset2'"),
    ],
)
def test_a_simulation_that_cannot_be_is_refused(person: Any, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(services.JobRefusedError) as refused:
        services.submit(person, "shower-simulate", changes)
    assert any(said in problem for problem in refused.value.problems.values()), refused.value.problems


def test_a_machine_without_geant4_is_told_how_to_install_it(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlcore.errors import ToolchainError
    from mlcore.showers import fullsim

    def absent(*_: Any, **__: Any) -> None:
        raise ToolchainError("Geant4 is not installed", hint='Install it with `pip install "ml4ep-portal[geant4]"`.')

    monkeypatch.setattr(fullsim, "produce", absent)
    with pytest.raises(ToolchainError) as told:
        here("shower-simulate", showers=5)
    assert "pip install" in told.value.hint


# --- train, sample, evaluate, inspect -------------------------------------------------------------------------------------------


def test_a_model_is_fitted_sampled_and_evaluated(here: Here, data: str, tmp_path: Path) -> None:
    fitted = here("shower-train", files=[data])
    model, unseen = fitted["shower-model"], fitted["showers"]
    assert filetypes.detect(Path(model)).kind == "shower-model"
    assert len(dataset.read(Path(unseen))) == 48
    assert fitted.titles[:2] == ["Along the axis", "Across the axis"]

    sampled = here("shower-sample", model=model, showers=50, lowest=2, highest=8)
    records = dataset.read(Path(sampled["showers"]))
    assert records.showers.shape == (50, *GRID.shape)
    assert (records.energy >= 2000).all()
    assert (records.energy <= 8000).all()
    alike = here("shower-sample", model=model, like=[unseen])
    drawn = json.loads(Path(alike["events"]).read_text())
    assert [one["name"] for one in drawn["samples"]] == ["Dataset", "parametrised"]
    pairs = zip(*(one["events"] for one in drawn["samples"]), strict=True)
    assert all(first["energy"] == second["energy"] for first, second in pairs)

    truth = str(showers(tmp_path / "more.h5", seed=2))
    found = here("shower-evaluate", truth=[truth], model=model, classifiers="quick", training=[data])
    assert {"report.pdf", "report.json", "events.json"} == set(found.files)
    assert found.files["report.pdf"].read_bytes().startswith(b"%PDF")
    report = json.loads(found.files["report.json"].read_text())
    facts = found.result["facts"]
    assert facts["auc_low"] == report["auc_low"]["value"]
    assert report["truth_showers"] == report["second_truth_showers"] == 120
    assert report["memorisation"] is not None
    assert facts["fpd"] > facts["fpd_floor"] > 0
    assert facts["simulation_ms"] == pytest.approx(20)
    assert {"ms_1", "ms_100"} <= set(facts)
    assert {"Along the axis", "Across the axis", "Energies of voxels"} <= set(found.titles)
    assert "model / simulation" in found.result["plots"][0]["svg"]
    (figures,) = [table for table in found.result["tables"] if table["title"] == "Figures of merit"]
    assert [row[0] for row in figures["rows"]][:4] == ["AUC, voxels", "AUC, features", "FPD × 1000", "KPD × 1000"]

    # Particles of other energies would be told apart by those alone.
    with pytest.raises(InputError, match="other energies") as told:
        here("shower-evaluate", truth=[truth], sample=[sampled["showers"]], classifiers="none")
    assert told.value.code == "showers.spectrum"


def test_gflash_is_fitted_to_a_dataset(here: Here, data: str, tmp_path: Path) -> None:
    ran = here("shower-train", files=[data], model="gflash", test=0)
    config = json.loads(Path(ran["shower-model"]).read_text())
    # The showers were made by GFlash itself, with a response of 1 and 13 %.
    assert config["response"] == pytest.approx(1, abs=0.02)
    assert 0.10 < config["medium"]["resolution"] < 0.17
    assert "made from" in ran.result["notes"][0]["headline"]
    with pytest.raises(InputError, match="which one it is"):
        here("shower-train", files=[str(showers(tmp_path / "unsaid.h5", name="mine"))], model="gflash")


def test_a_dataset_is_inspected(here: Here, data: str) -> None:
    ran = here("shower-inspect", files=[data], view=3)
    report = json.loads(Path(ran["numbers"]).read_text())
    assert report["showers"] == 240
    assert report["response"]["mean"] == pytest.approx(1, abs=0.1)
    drawn = json.loads(Path(ran["events"]).read_text())
    (sample,) = drawn["samples"]
    assert len(sample["events"]) == 3
    event = sample["events"][-1]
    assert max(event["at"]) < GRID.count
    assert sum(event["mev"]) == pytest.approx(event["total"], rel=1e-2)
    (layers,) = [table for table in ran.result["tables"] if table["title"] == "Layers"]
    assert len(layers["rows"]) == 6


@pytest.mark.parametrize("model", ["vae", "transformer"])
def test_a_network_is_trained_and_goes_on_from_what_was_kept(here: Here, data: str, model: str) -> None:
    asked: dict[str, Any] = {"files": [data], "model": model, "size": "small", "steps": 40, "batch": 8}
    first = here("shower-train", **asked)
    assert {"Loss", "Gradient's norm"} <= set(first.titles)
    assert len(first.files["curves.csv"].read_text().splitlines()) == 41
    shown = [plot["title"] for message in first.messages for plot in message.get("show", ())]
    assert "Loss" in shown
    kept = {message["keep"]["name"]: message["keep"] for message in first.messages if "keep" in message}
    assert set(kept) == {"checkpoint.safetensors", "curves.csv"}
    assert kept["curves.csv"]["note"] == "up to step 3 of 40"
    folder = first.files["curves.csv"].parent
    again = here("shower-train", **asked, kept={name: folder / one["path"] for name, one in kept.items()})
    assert any("Going on" in message.get("log", "") for message in again.messages)
    steps = [message["log"] for message in again.messages if message.get("log", "").startswith("step ")]
    assert steps[0].startswith("step 3:"), "two steps are done"
    # The same training, to the last bit: what was interrupted ends with the same weights.
    weights = [load_file(ran["shower-model"]) for ran in (first, again)]
    assert all(bool((value == weights[1][name]).all()) for name, value in weights[0].items())


def test_a_network_is_adapted_distilled_and_exported(here: Here, data: str, tmp_path: Path) -> None:
    teacher = here("shower-train", files=[data], model="transformer", size="small", steps=4, batch=8)["shower-model"]
    other = str(showers(tmp_path / "other.h5", count=60, seed=3, name="odd"))
    adapted = here("shower-adapt", files=[other], model=teacher, steps=4, batch=8, method="low-rank", rank=2)
    assert adapted.result["facts"]["model"] == "transformer-adapted"
    sampled = here("shower-sample", model=adapted["shower-model"], calorimeter="odd", showers=5, lowest=2, highest=8)
    assert dataset.read(Path(sampled["showers"])).geometries == ("odd",)
    student = here("shower-distill", files=[data], model=teacher, steps=4, batch=8, most=40)
    assert student.result["facts"]["model"] == "distilled"
    fitted = here("shower-train", files=[data])["shower-model"]
    for slug in ("shower-adapt", "shower-distill"):
        with pytest.raises(InputError, match="no network"):
            here(slug, files=[data], model=fitted)
    with pytest.raises(InputError, match="no network"):
        here("shower-to-cpp", model=fitted)


@pytest.mark.slow
def test_a_network_becomes_cpp(here: Here, data: str) -> None:
    model = here("shower-train", files=[data], model="vae", size="small", steps=4, batch=8)["shower-model"]
    # The calorimeter of the file's name has other voxels than this small grid; one of one's own fits.
    geometry = here.folder / "small.yaml"
    geometry.write_text(SMALL)
    ran = here("shower-to-cpp", model=model, name="mine", geometry=str(geometry))
    assert {"mine_showers.hpp", "FastShowers.hh", "example.cpp", "mine.zip", "mine.onnx"} == set(ran.files)
    assert ran.result["notes"][0]["kind"] == "ok"


def test_one_model_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    from portal.jobs import shower_inputs
    from portal.jobs.registry import ParamsError

    job_type = registry.get("shower-sample")
    monkeypatch.setattr(shower_inputs, "SHIPPED", ("small-one",))
    for asked in ({}, {"model": "x", "shipped": "small-one"}, {"shipped": "another"}):
        with pytest.raises(ParamsError):
            job_type.parse(asked)
    assert job_type.name_run(job_type.parse({"shipped": "small-one"}), {}) == "Showers of small-one"
    assert job_type.name_run(job_type.parse({"model": "x"}), {"x": "mine.npz"}) == "Showers of mine.npz"
    with pytest.raises(ParamsError):
        registry.get("shower-evaluate").parse({"truth": ["x"]})
    assert "shipped" in job_type.schema()["properties"]
    monkeypatch.setattr(shower_inputs, "SHIPPED", ())
    assert "shipped" not in job_type.schema()["properties"]


def test_every_shipped_model_can_be_chosen() -> None:
    from mlcore.showers import shipped
    from portal.jobs.shower_inputs import SHIPPED

    assert set(SHIPPED) == set(shipped.SHIPPED)


# --- bad input ------------------------------------------------------------------------------------------------------------------


def broken(path: Path, change: Callable[[h5py.File], None]) -> Path:
    showers(path, count=40)
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def _drop(file: h5py.File) -> None:
    del file["incident_energies"]


def _nan(file: h5py.File) -> None:
    file["showers"][3, 5] = np.nan


def _negative(file: h5py.File) -> None:
    file["showers"][7, 0] = -1


def _voxels(file: h5py.File) -> None:
    file.attrs["voxels"] = json.dumps({"depths": [0, 1, 2], "angles": 4, "radii": [0, 1]})


def _no_energy(file: h5py.File) -> None:
    file["incident_energies"][2, 0] = -5


BAD = [
    (_drop, "incident_energies"),
    (_nan, "NaN or infinity, first in shower 3"),
    (_negative, "negative energies, first in shower 7"),
    (_voxels, "have 72 voxels each, the geometry 2 x 4 x 1 = 8"),
    (_no_energy, "number 2 is -5"),
]


@pytest.mark.parametrize(("change", "said"), BAD)
def test_bad_files_are_told(here: Here, data: str, tmp_path: Path, change: Callable[[h5py.File], None], said: str) -> None:
    bad = str(broken(tmp_path / "bad.h5", change))
    model = here("shower-train", files=[data], model="gflash")["shower-model"]
    for slug, asked in (
        ("shower-inspect", {"files": [bad]}),
        ("shower-train", {"files": [bad]}),
        ("shower-sample", {"model": model, "like": [bad]}),
        ("shower-evaluate", {"model": model, "truth": [bad]}),
        ("shower-evaluate", {"sample": [bad], "truth": [data]}),
    ):
        with pytest.raises(MLCoreError) as told:
            here(slug, **asked)
        assert said in str(told.value)
        assert told.value.hint


def test_energies_and_geometries_that_do_not_fit_are_told(here: Here, data: str, tmp_path: Path) -> None:
    voxels = CALORIMETERS["par04-siw"].voxels
    other = tmp_path / "other.h5"
    dataset.write(other, dataset.Records.of(np.ones((30, *voxels.shape), np.float32), np.full(30, 5e3), voxels))
    for kind in ("parametrised", "vae"):
        model = here("shower-train", files=[data], model=kind, size="small", steps=2)["shower-model"]
        with pytest.raises(InputError, match="GeV is outside of") as far:
            here("shower-sample", model=model, lowest=500, highest=900, showers=5)
        assert far.value.code == "showers.range"
        with pytest.raises(InputError, match="6 x 4 x 3") as wrong:
            here("shower-evaluate", truth=[str(other)], model=model)
        assert wrong.value.code == "showers.voxels"
    with pytest.raises(InputError, match="no model of showers"):
        here("shower-sample", model=str(other))
    with pytest.raises(InputError) as unsaid:
        here("shower-inspect", files=[str(other)], calorimeter="dataset3")
    assert unsaid.value.code == "showers.voxels"


# --- through a worker, and the pages --------------------------------------------------------------------------------------------


def stored(person: Any, path: Path) -> LibraryFile:
    return library.store_upload(person, path.name, [path.read_bytes()])


def text_of(job: Job, name: str) -> bytes:
    with default_storage.open(job.artifacts.get(name=name).path) as file:
        return bytes(file.read())


@pytest.mark.django_db(transaction=True)
def test_what_a_job_made_is_used_in_another(person: Any, client: Client, run_now: RunNow, data: str) -> None:
    client.force_login(person)
    file = stored(person, Path(data))
    job = run_now(services.submit(person, "shower-train", {"files": [str(file.pk)], "model": "gflash"}))
    assert job.state == JobState.SUCCEEDED, job.error_message
    assert job.title == "GFlash of train.h5"
    html = client.get(reverse("job", args=[job.pk])).content.decode()
    check_page(html)
    assert "data-showers=" in html
    assert "portal/showers.js" in html
    artifact = job.artifacts.get(kind="shower-model")
    use = reverse("artifact-use", args=[job.pk, artifact.pk])
    assert use in html
    page = client.get(use).content.decode()
    check_page(page)
    assert "Sample showers" in page
    answer = client.post(use, {"use": "shower-sample", "field": "model"})
    kept = LibraryFile.objects.get(kind="shower-model")
    assert answer["Location"] == f"{reverse('job-form', args=['shower-sample'])}?model={kept.pk}"
    form = client.get(answer["Location"]).content.decode()
    check_page(form)
    assert f'<option value="{kept.pk}" selected>' in form
    assert client.post(use)["Location"] == reverse("library-file", args=[kept.pk])
    assert "Sample showers" in client.get(reverse("library-file", args=[kept.pk])).content.decode()
    with pytest.raises(services.JobRefusedError, match="shower-model"):
        services.submit(person, "shower-sample", {"model": str(file.pk)})


@pytest.mark.django_db(transaction=True)
def test_strangers_cannot_use_what_a_job_made(person: Any, client: Client, run_now: RunNow, data: str) -> None:
    from portal.accounts.models import User

    job = run_now(services.submit(person, "shower-inspect", {"files": [str(stored(person, Path(data)).pk)]}))
    assert job.state == JobState.SUCCEEDED, job.error_message
    client.force_login(User.objects.create_user("eve", password="correct horse battery"))
    artifact = job.artifacts.first()
    assert artifact is not None
    assert client.post(reverse("artifact-use", args=[job.pk, artifact.pk])).status_code == 404


@pytest.mark.django_db(transaction=True)
def test_a_bad_file_is_called_as_its_owner_calls_it(person: Any, run_now: RunNow, tmp_path: Path) -> None:
    file = stored(person, broken(tmp_path / "bad.h5", _drop))
    job = run_now(services.submit(person, "shower-inspect", {"files": [str(file.pk)]}))
    assert job.state == JobState.FAILED
    assert job.error_code != "internal"
    assert "bad.h5" in job.error_message
    assert "0-" not in job.error_message


@pytest.mark.django_db(transaction=True)
def test_a_cancelled_training_is_gone_on_with(
    person: Any, client: Client, run_now: RunNow, data: str, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.JOB_HEARTBEAT_SECONDS = 0.1
    client.force_login(person)
    file = stored(person, Path(data))
    asked = {"files": [str(file.pk)], "model": "vae", "size": "small", "steps": 1200, "batch": 2}
    real = services.check

    def check(one: Job) -> services.Heartbeat:
        """As somebody who presses the button once the page shows that something is kept."""
        if Kept.objects.filter(job=one).count() == 2:
            services.cancel(one)
        return real(one)

    with monkeypatch.context() as patch:
        patch.setattr(services, "check", check)
        job = run_now(services.submit(person, "shower-train", asked))
    assert job.state == JobState.CANCELLED, "it was so fast that nobody could have cancelled it"
    kept = {one.name: one for one in job.kept.all()}
    assert set(kept) == {"checkpoint.safetensors", "curves.csv"}
    html = client.get(reverse("job", args=[job.pk])).content.decode()
    check_page(html)
    assert "Resume" in html
    assert "Kept so far" in html
    assert "Loss over the steps of the training" in html
    curves = b"".join(client.get(reverse("kept", args=[job.pk, kept["curves.csv"].pk])))  # type: ignore[arg-type]
    begun = int(curves.splitlines()[-1].split(b",")[0])
    assert begun >= 60

    # The rest is not waited for: what ends a training well is tested above, in this process.
    again = services.retry(job, person)
    append = services.append_log

    def log(one: Job, text: str) -> None:
        append(one, text)
        if "step " in text:
            services.cancel(one)

    monkeypatch.setattr(services, "append_log", log)
    again = run_now(again)
    assert again.state == JobState.CANCELLED
    said = "".join(again.log_chunks.values_list("text", flat=True))
    assert "Going on with the training that was kept." in said
    assert int(said.split("step ", 1)[1].split(":", 1)[0]) > 60, "it begins behind the checkpoint"
    assert services.kept_of(again), "it can be gone on with again"
    services.delete(again)
    services.delete(job)
    assert not Kept.objects.exists()
    assert not default_storage.exists(kept["curves.csv"].path)


@pytest.mark.django_db
def test_what_was_kept_is_dropped_when_the_job_that_went_on_with_it_is_done(person: Any, tmp_path: Path) -> None:
    first = services.submit(person, "shower-train", {"files": [str(stored(person, showers(tmp_path / "a.h5", 40)).pk)]})
    running = services.claim(str(first.pk), "a worker")
    assert running is not None
    (tmp_path / "state").write_text("half")
    assert services.keep(running, tmp_path / "state", "state", "step 1")
    assert services.keep(running, tmp_path / "state", "state", "step 2")
    assert [(one.name, one.note) for one in services.kept_of(running)] == [("state", "step 2")]
    assert services.disk_used(person) > 4
    assert services.fail(running, "limit.wall", "too long")
    assert not services.keep(running, tmp_path / "state", "state", "step 3"), "a run without its claim keeps nothing"
    second = services.retry(Job.objects.get(pk=first.pk), person)
    assert [one.note for one in services.kept_of(second)] == ["step 2"]
    going_on = services.claim(str(second.pk), "a worker")
    assert going_on is not None
    assert services.succeed(going_on, {}, {}, [], [])
    assert not Kept.objects.exists()
