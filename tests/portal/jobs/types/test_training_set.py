"""Training sets as jobs: parts on any worker, joined once, whoever dies when; what the page shows and hands out."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from portal.jobs import registry, services
from portal.jobs.models import Artifact, Job, JobState
from portal.jobs.services import JobRefusedError
from portal.library import services as library
from portal.library.models import LibraryFile
from tests.mlcore.batches import damaged_files
from tests.portal.pages import check_page

pytestmark = pytest.mark.django_db(transaction=True)

RunNow = Callable[[Job], Job]
ROWS = 2000


@pytest.fixture
def files(tmp_path: Path, person: Any) -> list[LibraryFile]:
    """Two ROOT files: signal with label 1, background with label 0."""
    import uproot

    found = []
    for number, name in enumerate(("background", "signal")):
        rng = np.random.default_rng(number)
        path = tmp_path / f"{name}.root"
        with uproot.recreate(path) as file:
            file.mktree("Events", {"pt": "float32", "eta": "float64", "row": "int32", "label": "int32"}).extend(
                {
                    "pt": rng.exponential(20 + 20 * number, ROWS).astype(np.float32), "eta": rng.standard_normal(ROWS),
                    "row": np.arange(ROWS, dtype=np.int32) + ROWS * number, "label": np.full(ROWS, number, np.int32),
                }
            )  # fmt: skip
        found.append(library.store_upload(person, path.name, [path.read_bytes()]))
    return found


def asked(person: Any, files: list[LibraryFile], **params: Any) -> Job:
    given = {
        "files": [str(file.pk) for file in files],
        "target": "label",
        "columns": ["pt", "eta", "row"],
        "rows_per_shard": 1000,
    }
    return services.submit(person, "training-set", given | params)


def run_all(job: Job, run_now: RunNow) -> Job:
    for part in job.parts.order_by("part"):
        run_now(part)
    return run_now(job)


def rows_of(job: Job) -> np.ndarray[Any, Any]:
    tables = []
    for artifact in job.artifacts.filter(kind="shard"):
        with default_storage.open(artifact.path) as file:
            tables.append(pq.read_table(io.BytesIO(file.read())))
    return np.concatenate([table.column("row").to_numpy() for table in tables])


def test_a_set_of_two_files_is_made_in_parts(person: Any, files: list[LibraryFile], run_now: RunNow) -> None:
    job = asked(person, files, filter="pt > 10", validation=0.25)
    assert set(job.parts.values_list("type", flat=True)) == {"training-set-part"}
    assert [part.params["files"] for part in job.parts.order_by("part")] == [[str(file.pk)] for file in files]
    assert run_now(job).state == JobState.PENDING, "it waits for its parts"
    first, second = job.parts.order_by("part")
    assert run_now(first).state == JobState.SUCCEEDED, first.error_message
    job.refresh_from_db()
    assert job.progress_text == "1 of 2 parts done"
    assert run_now(job).state == JobState.PENDING
    assert run_now(second).state == JobState.SUCCEEDED
    assert run_now(job).state == JobState.SUCCEEDED, job.error_message

    found = rows_of(job)
    assert len(set(found.tolist())) == len(found) > 2 * ROWS / 2
    names = set(job.artifacts.values_list("name", flat=True))
    assert {"train_torch.py", "train_tensorflow.py", "train_numpy.py", "training_set.json", "features.json"} <= names
    assert any(name.startswith("validation-00000-of-") for name in names)
    assert [table["title"] for table in job.result["tables"]] == ["Features", "Classes", "Files"]
    assert [plot["title"] for plot in job.result["plots"]] == ["pt", "eta", "row", "Correlation"]
    assert "label = 1" in job.result["plots"][0]["svg"]
    with default_storage.open(job.artifacts.get(name="training_set.json").path) as file:
        manifest = json.load(file)
    assert [source["name"] for source in manifest["sources"]] == ["background.root:Events", "signal.root:Events"]
    assert manifest["rows"] == len(found)
    assert set(job.manifest["inputs"]) == {"background.root", "signal.root"}


def test_parts_leave_nothing_behind(person: Any, files: list[LibraryFile], run_now: RunNow) -> None:
    job = asked(person, files)
    for part in job.parts.all():
        run_now(part)
    pieces = list(Artifact.objects.filter(job__parent=job).values_list("path", flat=True))
    assert len(pieces) == 2
    assert run_now(job).state == JobState.SUCCEEDED, job.error_message
    assert not job.parts.exists()
    assert not any(default_storage.exists(path) for path in pieces)


def test_parts_and_one_run_give_the_same_files(
    person: Any, files: list[LibraryFile], run_now: RunNow, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = run_all(asked(person, files), run_now)
    job_type = registry.get("training-set")
    monkeypatch.setattr(type(job_type), "parts", lambda self, params, sizes: ())
    alone = run_now(asked(person, files))
    hashes = [dict(job.artifacts.filter(kind="shard").values_list("name", "sha256")) for job in (several, alone)]
    assert hashes[0] == hashes[1] != {}


def test_a_dead_worker_costs_its_own_part(person: Any, files: list[LibraryFile], run_now: RunNow) -> None:
    job = asked(person, files)
    first, second = job.parts.order_by("part")
    run_now(first)
    claimed = services.claim(str(second.pk), "a worker that dies")
    assert claimed is not None
    Job.objects.filter(pk=second.pk).update(heartbeat_at=timezone.now() - timedelta(hours=1))
    services.reap()
    second.refresh_from_db()
    assert second.state == JobState.PENDING
    run_now(second)
    assert run_now(job).state == JobState.SUCCEEDED, job.error_message
    np.testing.assert_array_equal(np.sort(rows_of(job)), np.arange(2 * ROWS))


def test_a_message_that_was_lost_is_sent_again(
    person: Any, files: list[LibraryFile], run_now: RunNow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker may die after it ended the last part, before it queues the job."""
    job = asked(person, files)
    for part in job.parts.all():
        run_now(part)
    sent: list[str] = []
    monkeypatch.setattr(services, "enqueue", lambda job: sent.append(str(job.pk)))
    Job.objects.filter(pk=job.pk).update(queued_at=timezone.now() - timedelta(hours=1))
    services.reap()
    assert sent == [str(job.pk)]


def test_a_part_that_fails_ends_the_job_and_the_others(
    person: Any, files: list[LibraryFile], run_now: RunNow, tmp_path: Path
) -> None:
    import uproot

    path = tmp_path / "bad.root"
    with uproot.recreate(path) as file:
        file["Events"] = {"pt": np.ones(5, np.float32), "label": np.ones(5, np.int32)}
    bad = library.store_upload(person, path.name, [path.read_bytes()])
    job = asked(person, [bad, files[1]])
    first, second = job.parts.order_by("part")
    assert run_now(first).state == JobState.FAILED
    job.refresh_from_db()
    second.refresh_from_db()
    assert (job.state, job.error_code) == (JobState.FAILED, first.error_code)
    assert job.error_message == first.error_message
    assert "bad.root" in job.error_message
    assert second.state == JobState.CANCELLED
    assert run_now(job).state == JobState.FAILED


def test_what_is_damaged_is_left_out_and_told(
    person: Any, files: list[LibraryFile], run_now: RunNow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of one file and all of another, in parts and in one run; without being asked for it is an error."""
    rng = np.random.default_rng(4)
    path = damaged_files.write(
        tmp_path / "damaged.root",
        "tree",
        {
            "pt": rng.normal(size=damaged_files.ROWS).astype(np.float32), "eta": rng.normal(size=damaged_files.ROWS),
            "row": np.arange(damaged_files.ROWS, dtype=np.int32) + 2 * ROWS,
            "label": np.ones(damaged_files.ROWS, np.int32),
        },
    )  # fmt: skip
    first, stop = damaged_files.damage(path, "pt", damaged_files.EDGES[1])
    (tmp_path / "short.root").write_bytes(path.read_bytes()[:400])
    more = [library.store_upload(person, name, [(tmp_path / name).read_bytes()]) for name in ("damaged.root", "short.root")]
    job = asked(person, [*files, *more], rows_per_shard=100_000)
    assert run_now(job.parts.get(part=2)).state == JobState.FAILED
    jobs = [run_all(asked(person, [*files, *more], rows_per_shard=100_000, skip_damaged=True), run_now)]
    monkeypatch.setattr(type(registry.get("training-set")), "parts", lambda self, params, sizes: ())
    jobs.append(run_now(asked(person, [*files, *more], rows_per_shard=100_000, skip_damaged=True)))
    expected = np.setdiff1d(np.arange(2 * ROWS + damaged_files.ROWS), np.arange(2 * ROWS + first, 2 * ROWS + stop))
    for job in jobs:
        assert job.state == JobState.SUCCEEDED, job.error_message
        np.testing.assert_array_equal(np.sort(rows_of(job)), expected)
        note = job.result["notes"][0]
        assert "17\u2009000 rows and 1 files could not be read" in note["headline"]
        with default_storage.open(job.artifacts.get(name="training_set.json").path) as file:
            skipped = json.load(file)["skipped"]
        assert (skipped["rows"], list(skipped["files"])) == (stop - first, ["short.root"])
        for message in (note["text"], *skipped["messages"]):
            assert "/" not in message.replace("damaged.root:Events", ""), "people know their files by name"


def test_another_try_takes_over_what_is_done(person: Any, files: list[LibraryFile], run_now: RunNow) -> None:
    job = asked(person, files)
    first, second = job.parts.order_by("part")
    run_now(first)
    services.cancel(second)
    job.refresh_from_db()
    assert job.state == JobState.CANCELLED
    again = services.retry(job, person)
    assert [part.state for part in again.parts.order_by("part")] == [JobState.SUCCEEDED, JobState.PENDING]
    assert again.parts.order_by("part")[0].pk == first.pk
    run_now(again.parts.get(part=1))
    assert run_now(again).state == JobState.SUCCEEDED, again.error_message
    np.testing.assert_array_equal(np.sort(rows_of(again)), np.arange(2 * ROWS))


def test_cancelling_ends_the_parts(person: Any, files: list[LibraryFile]) -> None:
    job = asked(person, files)
    first, second = job.parts.order_by("part")
    claimed = services.claim(str(first.pk), "a")
    assert claimed is not None
    assert services.cancel(job)
    second.refresh_from_db()
    assert second.state == JobState.CANCELLED
    assert services.check(claimed).cancel


def test_parts_are_not_deleted_under_a_job(person: Any, files: list[LibraryFile], run_now: RunNow) -> None:
    job = asked(person, files)
    part = run_now(job.parts.order_by("part")[0])
    with pytest.raises(JobRefusedError, match="part of another"):
        services.delete(part)


def test_one_file_has_no_parts(person: Any, files: list[LibraryFile], run_now: RunNow) -> None:
    job = asked(person, files[:1], target="", format="numpy", shuffle=False)
    assert not job.parts.exists()
    assert run_now(job).state == JobState.SUCCEEDED, job.error_message
    assert job.artifacts.filter(name="train-00000-of-00002.npz").exists()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"filter": "nothing > 3"}, "nothing"),
        ({"columns": ["ptt"]}, "ptt"),
        ({"tree": "Evnts"}, "Evnts"),
        ({"filter": "pt > 1e9"}, "no row"),
    ],
)
def test_what_is_wrong_with_the_data_is_told(
    person: Any, files: list[LibraryFile], run_now: RunNow, params: dict[str, Any], message: str
) -> None:
    job = run_now(asked(person, files[:1], **params))
    assert job.state == JobState.FAILED
    assert message in job.error_message
    assert job.error_hint
    assert "/in/0-" not in job.error_message, "people know their files by name"


@pytest.mark.parametrize(
    ("params", "field", "message"),
    [
        ({"filter": "pt >> 3"}, "filter", "^"),
        ({"define": "m 3"}, "define", "name = expression"),
        ({"pad": "jet_pt = many"}, "pad", "column = number"),
        ({"validation": 0.6, "test": 0.5}, "form", "nothing to train on"),
    ],
)
def test_what_is_wrong_with_the_form_is_told_at_once(
    person: Any, files: list[LibraryFile], params: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(JobRefusedError) as caught:
        asked(person, files, **params)
    assert message in caught.value.problems[field]


def test_a_set_needs_a_file(person: Any) -> None:
    with pytest.raises(JobRefusedError) as caught:
        asked(person, [])
    assert "at least 1" in caught.value.problems["files"]


def test_files_of_others_are_refused(administrator: Any, files: list[LibraryFile]) -> None:
    with pytest.raises(JobRefusedError):
        asked(administrator, files)


# --- the page -------------------------------------------------------------------------------------------------------------------


def test_the_form_takes_several_files(client: Client, person: Any, files: list[LibraryFile]) -> None:
    client.force_login(person)
    address = reverse("job-form", args=["training-set"])
    html = client.get(address, {"files": str(files[0].pk)}).content.decode()
    check_page(html)
    assert f'<option value="{files[0].pk}" selected>' in html
    assert "What is kept" in html
    fields = {"files": [str(file.pk) for file in files], "filter": "pt >> 3", "rows_per_shard": "1000", "validation": "0.2"}
    html = client.post(address, fields).content.decode()
    check_page(html)
    assert "One thing to fix" in html
    assert "^" in html
    assert html.count("selected>") >= 2, "what was chosen is kept"
    response = client.post(address, fields | {"filter": "pt > 3"})
    assert response.status_code == 302
    assert Job.objects.get(type="training-set").params["files"] == fields["files"]


def test_lists_leave_parts_out_and_the_page_shows_them(client: Client, person: Any, files: list[LibraryFile]) -> None:
    client.force_login(person)
    job = asked(person, files)
    html = client.get(reverse("job-list")).content.decode()
    assert html.count("Training set of background.root and 1 more") >= 1
    assert "Part 1 of 2" not in html
    html = client.get(reverse("job", args=[job.pk])).content.decode()
    check_page(html)
    assert "0 of 2 parts done" in html
    assert "Part 2 of 2: Rows of signal.root" in html


def test_a_preview_is_counted_while_typing(client: Client, person: Any, files: list[LibraryFile], run_now: RunNow) -> None:
    client.force_login(person)
    address = reverse("job-preview", args=["training-set"])
    assert "Choose files first" in client.post(address, {"filter": "pt > 3"}).content.decode()
    fields = {"files": [str(file.pk) for file in files], "filter": "pt > 30", "target": "label", "validation": "0.2"}
    html = client.post(address, fields).content.decode()
    job = Job.objects.get(type="filter-preview")
    assert f"job={job.pk}" in html
    run_now(job)
    html = client.get(address, {"job": str(job.pk)}).content.decode()
    assert "Rows kept" in html
    assert "of 4\u2009000" in html
    assert "<svg" in html
    client.post(address, fields)
    assert Job.objects.filter(type="filter-preview").count() == 1, "the same is not counted twice"
    client.post(address, fields | {"filter": "pt > 40"})
    client.post(address, fields | {"filter": "pt > 50"})
    states = list(Job.objects.filter(type="filter-preview").order_by("created_at").values_list("state", flat=True))
    assert states == [JobState.SUCCEEDED, JobState.CANCELLED, JobState.PENDING]


def test_a_preview_points_at_what_is_wrong(client: Client, person: Any, files: list[LibraryFile], run_now: RunNow) -> None:
    client.force_login(person)
    address = reverse("job-preview", args=["training-set"])
    fields = {"files": [str(files[0].pk)], "filter": "pt > 30 &&"}
    assert "^" in client.post(address, fields).content.decode()
    client.post(address, fields | {"filter": "ptt > 30"})
    job = run_now(Job.objects.get(type="filter-preview"))
    html = client.get(address, {"job": str(job.pk)}).content.decode()
    assert "^^^" in html
    assert "pt" in job.error_hint


def test_previews_of_others_are_not_shown(client: Client, person: Any, files: list[LibraryFile], administrator: Any) -> None:
    client.force_login(person)
    address = reverse("job-preview", args=["training-set"])
    client.post(address, {"files": [str(files[0].pk)]})
    job = Job.objects.get(type="filter-preview")
    from portal.accounts.models import User

    client.force_login(User.objects.create_user("eve", password="correct horse battery"))
    assert client.get(address, {"job": str(job.pk)}).status_code == 404


def test_background_files_make_the_target(person: Any, files: list[LibraryFile], run_now: RunNow) -> None:
    background, signal = files
    job = asked(person, [signal], background=[str(background.pk)], target="", columns=["pt", "label", "row"])
    assert [part.params["label"] for part in job.parts.order_by("part")] == [1, 0]
    assert run_all(job, run_now).state == JobState.SUCCEEDED, job.error_message
    for artifact in job.artifacts.filter(kind="shard"):
        with default_storage.open(artifact.path) as file:
            table = pq.read_table(io.BytesIO(file.read()))
        np.testing.assert_array_equal(table.column("sample_label").to_numpy(), table.column("label").to_numpy())
    np.testing.assert_array_equal(np.sort(rows_of(job)), np.arange(2 * ROWS))
    assert "sample_label = 1" in job.result["plots"][0]["svg"]
    assert "label, row alone tell the classes apart" in json.dumps(job.result)
