"""The page about showers: models ranked for each dataset, with the floor and the simulation's time."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from portal.accounts.models import User
from portal.jobs.models import Job, JobState
from portal.showers.leaderboard import boards
from tests.portal.pages import check_page, text_of

pytestmark = pytest.mark.django_db


def evaluated(owner: Any, dataset: str, model: str, **facts: Any) -> Job:
    found = {
        "model": model, "model_file": f"{model}.npz", "dataset": dataset, "dataset_sha256": dataset, "calorimeter": "odd",
        "showers": 1200, "fpd": 0.02, "fpd_error": 0.001, "fpd_floor": 0.005, "separation": 0.01, "simulation_ms": 200.0,
    }  # fmt: skip
    return Job.objects.create(
        type="shower-evaluate",
        title=f"{model} against {dataset}",
        owner=owner,
        queue="cpu",
        queued_at=timezone.now(),
        finished_at=timezone.now(),
        state=JobState.SUCCEEDED,
        result={"facts": found | facts, "notes": [], "figures": []},
    )


def test_models_are_ranked_for_each_dataset(client: Client, person: Any) -> None:
    evaluated(person, "a.h5", "gflash", auc_low=0.95, auc_low_error=0.01, ms_1=0.5, ms_100=0.2, parameters=0)
    evaluated(person, "a.h5", "transformer", auc_low=0.6, auc_low_error=0.01, auc_low_floor=0.501, ms_1=40.0, ms_100=20.0)
    evaluated(person, "b.h5", "vae")
    evaluated(User.objects.create_user("eve"), "a.h5", "hidden", auc_low=0.5)
    found = boards(person)
    assert [board.dataset for board in found] == ["b.h5", "a.h5"]
    first = found[1]
    assert [(entry.place, entry.facts["model"]) for entry in first.entries] == [(1, "transformer"), (2, "gflash")]
    assert [entry.faster for entry in first.entries] == [10, 1000]
    assert first.entries[1].cells[0] == "0.95 ± 0.01"
    assert first.floor == ["0.501", "", "5", "", "200", "", "", ""]
    assert [plot.title for plot in first.plots] == ["AUC, voxels against time", "FPD × 1000 against time"]
    assert "1: transformer, transformer.npz, 20 ms, 0.6" in first.plots[0].svg
    assert found[0].plots == [], "what was not timed is in the table alone"

    client.force_login(person)
    html = client.get(reverse("showers")).content.decode()
    check_page(html)
    told = text_of(html)
    assert "The simulation itself" in told
    assert "1 000 ×" in told
    assert "hidden" not in told


def test_without_evaluations_the_page_says_what_to_do(client: Client, person: Any) -> None:
    assert client.get(reverse("showers")).status_code == 302
    client.force_login(person)
    html = client.get(reverse("showers")).content.decode()
    check_page(html)
    assert "No model was evaluated yet" in html
    assert reverse("job-form", args=["shower-simulate"]) in html


def test_results_of_other_versions_do_no_harm(client: Client, person: Any) -> None:
    job = evaluated(person, "a.h5", "vae")
    for result in (None, {}, {"facts": {}}, {"facts": {"model": "vae"}}):
        Job.objects.filter(pk=job.pk).update(result=result)
        client.force_login(person)
        assert client.get(reverse("showers")).status_code == 200
