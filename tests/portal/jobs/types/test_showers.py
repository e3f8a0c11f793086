"""Showers as jobs: simulated in parts, trained, sampled, evaluated, looked at; a training cancelled and gone on with."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import h5py
import numpy as np
import pytest
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse

from mlcore import filetypes
from mlcore.showers import dataset
from mlcore.showers.geometry import CALORIMETERS
from mlcore.showers.models.gflash import GFlash, GFlashConfig, Medium
from mlcore.showers.voxels import Voxels
from portal.jobs import registry, services
from portal.jobs.models import Job, JobState, Kept
from portal.jobs.shower_inputs import CALORIMETER_TITLES, CalorimeterName
from portal.jobs.types import shower_simulate, shower_train
from portal.library import services as library
from portal.library.models import LibraryFile
from tests.portal.pages import check_page

pytestmark = pytest.mark.django_db(transaction=True)

RunNow = Callable[[Job], Job]
GRID = Voxels.regular(layers=6, layer_depth=25.0, angles=4, rings=3, ring_width=14.0)
SMALL = f"""
name: small
layers:
  - repeat: 6
    slabs:
      - {{material: W, thickness: 20.0}}
      - {{material: Si, thickness: 5.0, sensitive: true}}
voxels: {{layers: 6, layer_depth: 25.0, angles: 4, rings: 3, ring_width: 14.0}}
calibration: 20
"""


def showers(path: Path, count: int = 240, seed: int = 1, **changes: Any) -> Path:
    """Showers as a simulation would have written them, by GFlash, which takes no time."""
    energy = 1e3 * np.exp(np.random.default_rng(seed).uniform(0, np.log(10), count))
    model = GFlash(GFlashConfig(Medium.of(CALORIMETERS["dataset2"], resolution=0.13), GRID))
    records = dataset.Records.of(model.sample(energy, seed=seed), energy, GRID, geometries=("dataset2",))
    dataset.write(path, records, metadata={"simulation": "stands for Geant4", "cpu_seconds": 0.02 * count, **changes})
    return path


def stored(person: Any, path: Path) -> LibraryFile:
    return library.store_upload(person, path.name, [path.read_bytes()])


@pytest.fixture
def data(tmp_path: Path, person: Any) -> LibraryFile:
    return stored(person, showers(tmp_path / "train.h5"))


def kept_in_library(client: Client, job: Job, kind: str) -> LibraryFile:
    """What a person does on the page: use the file that a job made."""
    artifact = job.artifacts.get(kind=kind)
    page = client.post(reverse("artifact-use", args=[job.pk, artifact.pk]))
    assert page.status_code == 302
    return LibraryFile.objects.get(pk=page["Location"].rstrip("/").rsplit("/", 1)[-1])


def text_of(job: Job, name: str) -> bytes:
    with default_storage.open(job.artifacts.get(name=name).path) as file:
        return bytes(file.read())


# --- simulate -------------------------------------------------------------------------------------------------------------------


def test_the_form_offers_every_shipped_calorimeter() -> None:
    assert set(get_args(CalorimeterName)) == set(CALORIMETERS) == set(CALORIMETER_TITLES)


def test_showers_are_simulated_in_parts_and_joined(
    person: Any, run_now: RunNow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("geant4_pybind", reason="Geant4 comes for Linux on x86-64 alone")
    monkeypatch.setattr(shower_simulate.SimulateParams, "shard", 6)
    (tmp_path / "small.yaml").write_text(SMALL)
    geometry = stored(person, tmp_path / "small.yaml")
    asked = {"geometry": str(geometry.pk), "showers": 12, "lowest": 0.2, "highest": 0.5, "physics": "data-free"}
    job = services.submit(person, "shower-simulate", asked)
    assert set(job.parts.values_list("type", flat=True)) == {"shower-simulate-part"}
    # The children import the class afresh: what they are told of the shard's size is what counts there.
    numbers = [part.params["number"] for part in job.parts.order_by("part")]
    assert numbers == [0, 1]


def test_showers_are_simulated(person: Any, client: Client, run_now: RunNow, tmp_path: Path) -> None:
    pytest.importorskip("geant4_pybind", reason="Geant4 comes for Linux on x86-64 alone")
    (tmp_path / "small.yaml").write_text(SMALL)
    geometry = stored(person, tmp_path / "small.yaml")
    asked = {"geometry": str(geometry.pk), "showers": 12, "lowest": 0.2, "highest": 0.5, "physics": "data-free"}
    job = run_now(services.submit(person, "shower-simulate", asked))
    assert job.state == JobState.SUCCEEDED, job.error_message
    assert job.title == "12 showers, e- of 0.2 to 0.5 GeV in small.yaml"
    with h5py.File(io.BytesIO(text_of(job, "showers.h5"))) as file:
        energies = file["incident_energies"][:, 0]
        assert file["showers"].shape == (12, 72)
        assert ((energies >= 200) & (energies <= 500)).all()
        assert "data-free" in json.loads(file.attrs["metadata"])["physics"]
    assert job.result["facts"]["showers"] == 12
    assert job.result["events"][0]["file"] == "events.json"
    client.force_login(person)
    html = client.get(reverse("job", args=[job.pk])).content.decode()
    check_page(html)
    assert "data-showers=" in html
    assert "portal/showers.js" in html


def test_a_joined_file_is_that_of_one_run(tmp_path: Path) -> None:
    from mlcore.errors import InputError
    from mlcore.showers.dataset import ShowerFile, Writer
    from mlcore.showers.fullsim import Plan

    plan = Plan(CALORIMETERS["dataset2"], 30)
    paths = []
    for number in range(3):
        paths.append(tmp_path / f"part-{number}")
        voxels = CALORIMETERS["dataset2"].voxels
        records = dataset.Records.of(
            np.full((10, *voxels.shape), number, np.float32), np.full(10, 1e3 + number), voxels, geometries=("dataset2",)
        )
        with Writer(paths[-1], voxels, ("dataset2",), metadata={"cpu_seconds": 1.5, "shard": number}, extra=("outside",)) as writer:
            writer.append(records, extra={"outside": np.full(10, float(number))})
    made, origin = shower_simulate.joined(paths, tmp_path / "all.h5", plan)
    assert origin == {"cpu_seconds": 4.5, "shards": 3}
    assert dataset.read(made).energy.tolist() == [1e3 + number for number in range(3) for _ in range(10)]
    assert ShowerFile.open(made).column("outside").tolist() == [float(number) for number in range(3) for _ in range(10)]
    with pytest.raises(InputError, match="parts of this simulation are missing"):
        shower_simulate.joined(paths[:2], tmp_path / "some.h5", plan)


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


# --- train, sample, evaluate, inspect -------------------------------------------------------------------------------------------


def test_a_model_is_fitted_sampled_and_evaluated(person: Any, client: Client, run_now: RunNow, data: LibraryFile) -> None:
    client.force_login(person)
    job = run_now(services.submit(person, "shower-train", {"files": [str(data.pk)]}))
    assert job.state == JobState.SUCCEEDED, job.error_message
    assert [plot["title"] for plot in job.result["plots"]][:2] == ["Along the axis", "Across the axis"]
    check_page(client.get(reverse("job", args=[job.pk])).content.decode())
    check_page(client.get(reverse("artifact-use", args=[job.pk, job.artifacts.get(kind="shower-model").pk])).content.decode())
    model, unseen = kept_in_library(client, job, "shower-model"), kept_in_library(client, job, "showers")
    assert (model.kind, unseen.kind) == ("shower-model", "hdf5")

    sampled = run_now(services.submit(person, "shower-sample", {"model": str(model.pk), "showers": 50, "lowest": 2, "highest": 8}))
    assert sampled.state == JobState.SUCCEEDED, sampled.error_message
    with h5py.File(io.BytesIO(text_of(sampled, "showers.h5"))) as file:
        assert file["showers"].shape == (50, GRID.count)
    sample = kept_in_library(client, sampled, "showers")
    alike = run_now(services.submit(person, "shower-sample", {"model": str(model.pk), "like": [str(unseen.pk)]}))
    assert alike.state == JobState.SUCCEEDED, alike.error_message
    drawn = json.loads(text_of(alike, "events.json"))
    assert [one["name"] for one in drawn["samples"]] == ["Dataset", "parametrised"]
    pairs = zip(*(one["events"] for one in drawn["samples"]), strict=True)
    assert all(first["energy"] == second["energy"] for first, second in pairs)

    asked = {"truth": [str(data.pk)], "model": str(model.pk), "classifiers": "quick"}
    found = run_now(services.submit(person, "shower-evaluate", asked))
    assert found.state == JobState.SUCCEEDED, found.error_message
    assert {"report.pdf", "report.json", "events.json"} == set(found.artifacts.values_list("name", flat=True))
    assert text_of(found, "report.pdf").startswith(b"%PDF")
    report = json.loads(text_of(found, "report.json"))
    facts = found.result["facts"]
    assert facts["auc_low"] == report["auc_low"]["value"]
    assert 0 < facts["fpd_floor"] < facts["fpd"] < 100
    assert facts["simulation_ms"] == pytest.approx(20)
    assert {"ms_1", "ms_100"} <= set(facts)
    titles = [plot["title"] for plot in found.result["plots"]]
    assert {"Along the axis", "Across the axis", "Energies of voxels", "Total energy"} <= set(titles)
    assert "model / simulation" in found.result["plots"][0]["svg"]
    check_page(client.get(reverse("job", args=[found.pk])).content.decode())

    # The sample's particles have other energies: to tell them apart would need no look at the showers.
    refused = run_now(
        services.submit(person, "shower-evaluate", {"truth": [str(data.pk)], "sample": [str(sample.pk)], "classifiers": "none"})
    )
    assert refused.state == JobState.FAILED
    assert refused.error_code == "showers.spectrum"


def test_gflash_is_fitted_to_a_dataset(person: Any, run_now: RunNow, data: LibraryFile) -> None:
    job = run_now(services.submit(person, "shower-train", {"files": [str(data.pk)], "model": "gflash", "test": 0}))
    assert job.state == JobState.SUCCEEDED, job.error_message
    config = json.loads(text_of(job, "gflash.json"))
    # The showers were made by GFlash itself, with a response of 1 and 13 %.
    assert config["response"] == pytest.approx(1, abs=0.02)
    assert 0.10 < config["medium"]["resolution"] < 0.17
    assert "not see" in job.result["notes"][0]["headline"] or "made from" in job.result["notes"][0]["headline"]


def test_a_dataset_is_inspected(person: Any, client: Client, run_now: RunNow, data: LibraryFile) -> None:
    job = run_now(services.submit(person, "shower-inspect", {"files": [str(data.pk)], "view": 3}))
    assert job.state == JobState.SUCCEEDED, job.error_message
    report = json.loads(text_of(job, "report.json"))
    assert report["showers"] == 240
    assert report["response"]["mean"] == pytest.approx(1, abs=0.1)
    assert len(json.loads(text_of(job, "events.json"))["samples"][0]["events"]) == 3
    client.force_login(person)
    check_page(client.get(reverse("job", args=[job.pk])).content.decode())
    page = client.get(reverse("library-file", args=[data.pk])).content.decode()
    assert "Inspect showers" in page


# --- a training that is cancelled -----------------------------------------------------------------------------------------------

LONG = {"model": "vae", "steps": 60, "batch": 16}


def cancel_after_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """As somebody would who presses the button once the page shows that something is kept."""
    real = services.check

    def check(job: Job) -> services.Heartbeat:
        if Kept.objects.filter(job=job).count() == 2:
            services.cancel(job)
        return real(job)

    monkeypatch.setattr(services, "check", check)


def test_a_cancelled_training_is_gone_on_with(
    person: Any, client: Client, run_now: RunNow, data: LibraryFile, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.JOB_HEARTBEAT_SECONDS = 0.2
    client.force_login(person)
    asked = {"files": [str(data.pk)], **LONG, "steps": 3000}
    with monkeypatch.context() as patch:
        cancel_after_a_checkpoint(patch)
        job = run_now(services.submit(person, "shower-train", asked))
    assert job.state == JobState.CANCELLED
    kept = {one.name: one for one in job.kept.all()}
    assert set(kept) == {"checkpoint.safetensors", "curves.csv"}
    html = client.get(reverse("job", args=[job.pk])).content.decode()
    check_page(html)
    assert "Resume" in html
    assert "Kept so far" in html
    assert "Loss over the steps of the training" in html
    curves = client.get(reverse("kept", args=[job.pk, kept["curves.csv"].pk]))
    begun = len(b"".join(curves).splitlines()) - 1  # type: ignore[arg-type]
    assert begun >= 1

    # The rest of the training is made short by going on from near its end in another process: the same parameters.
    again = services.retry(job, person)
    assert [one.name for one in services.kept_of(again)] == ["checkpoint.safetensors", "curves.csv"]
    seen: list[str] = []
    real = services.append_log
    with monkeypatch.context() as patch:

        def log(one: Job, text: str) -> None:
            seen.append(text)
            real(one, text)
            if "step " in text:
                services.cancel(one)

        patch.setattr(services, "append_log", log)
        again = run_now(again)
    said = "".join(seen)
    assert "Going on with the training that was kept." in said
    first = int(said.split("step ", 1)[1].split(":", 1)[0])
    assert first > 30, "it begins behind the checkpoint, not at the first step"


def test_what_a_training_kept_is_dropped_once_it_is_done(person: Any, run_now: RunNow, data: LibraryFile) -> None:
    job = run_now(services.submit(person, "shower-train", {"files": [str(data.pk)], **LONG}))
    assert job.state == JobState.SUCCEEDED, job.error_message
    assert not Kept.objects.exists()
    assert len(text_of(job, "curves.csv").splitlines()) == 61
    assert filetypes.FileType is not None
    model = shower_train  # its slug names the file
    assert model.ShowerTrain.slug == "shower-train"
    assert {plot["title"] for plot in job.result["plots"]} >= {"Loss", "Parts of the loss", "Gradient's norm"}


# --- bad input, through the portal ----------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_drop, "incident_energies"),
        (_nan, "NaN or infinity, first in shower 3"),
        (_negative, "negative energies, first in shower 7"),
        (_voxels, "have 72 voxels each, the geometry 2 x 4 x 1 = 8"),
        (_no_energy, "number 2 is -5"),
    ],
)
@pytest.mark.parametrize("slug", ["shower-inspect", "shower-train"])
def test_bad_files_are_told(
    person: Any, run_now: RunNow, tmp_path: Path, change: Callable[[h5py.File], None], said: str, slug: str
) -> None:
    file = stored(person, broken(tmp_path / "bad.h5", change))
    job = run_now(services.submit(person, slug, {"files": [str(file.pk)]}))
    assert job.state == JobState.FAILED
    assert said in job.error_message
    assert job.error_code != "internal"
    assert job.error_hint
    assert "0-" not in job.error_message, "the file is called as its owner calls it"


def test_energies_and_geometries_that_do_not_fit_are_told(
    person: Any, client: Client, run_now: RunNow, data: LibraryFile, tmp_path: Path
) -> None:
    client.force_login(person)
    made = run_now(services.submit(person, "shower-train", {"files": [str(data.pk)]}))
    model = str(kept_in_library(client, made, "shower-model").pk)
    far = run_now(services.submit(person, "shower-sample", {"model": model, "lowest": 500, "highest": 900, "showers": 5}))
    assert (far.state, far.error_code) == (JobState.FAILED, "showers.range")
    assert "GeV" in far.error_message
    voxels = CALORIMETERS["par04-siw"].voxels
    other = tmp_path / "other.h5"
    dataset.write(other, dataset.Records.of(np.ones((30, *voxels.shape), np.float32), np.full(30, 5e3), voxels))
    file = stored(person, other)
    wrong = run_now(services.submit(person, "shower-evaluate", {"truth": [str(file.pk)], "model": model}))
    assert (wrong.state, wrong.error_code) == (JobState.FAILED, "showers.voxels")
    assert "6 x 4 x 3" in wrong.error_message
    with pytest.raises(services.JobRefusedError, match="shower-model"):
        services.submit(person, "shower-sample", {"model": str(file.pk)})
    unsaid = run_now(services.submit(person, "shower-inspect", {"files": [str(file.pk)], "calorimeter": "dataset3"}))
    assert (unsaid.state, unsaid.error_code) == (JobState.FAILED, "showers.voxels")


def test_all_doors_know_the_job_types() -> None:
    for slug in ("shower-simulate", "shower-train", "shower-sample", "shower-evaluate", "shower-inspect"):
        job_type = registry.get(slug)
        assert job_type.listed
        assert job_type.phrases
    assert not registry.get("shower-simulate-part").listed
