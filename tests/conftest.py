# ruff: noqa: E402  (settings are read on import, so the environment comes first)
"""What all tests share: a data folder of their own, no `.env`, a broker in memory, static files without a manifest."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

_DATA = tempfile.mkdtemp(prefix="ml4ep-tests-")
for _name in [name for name in os.environ if name.startswith("ML4EP_") and not name.startswith("ML4EP_TEST_")]:
    del os.environ[_name]
os.environ |= {
    "DJANGO_SETTINGS_MODULE": "portal.settings",
    "ML4EP_DATA_DIR": _DATA,
    "ML4EP_ENV_FILE": str(Path(_DATA) / "none"),
    "ML4EP_SECRET_KEY": "tests",
}
if _url := os.environ.pop("ML4EP_TEST_POSTGRESQL", ""):
    os.environ["ML4EP_DATABASE_URL"] = _url
if _model := os.environ.pop("ML4EP_TEST_MODEL", ""):
    os.environ["TEST_MODEL"] = _model  # by another name: the portal refuses settings that it does not know

import shutil
from typing import Any

import django
import hypothesis
import pytest
from django.conf import settings

hypothesis.settings.register_profile("portal", deadline=None)  # how busy the machine is, is not what is tested
hypothesis.settings.load_profile("portal")
settings.LOGGING_CONFIG = None  # its handlers would hold the stream of some test, which is closed after it
if not _url:
    # A file, as in a deployment: threads wait for each other there, which they do not in SQLite's shared memory.
    settings.DATABASES["default"]["TEST"] = {"NAME": str(Path(_DATA) / "test.sqlite3")}
django.setup()


def pytest_unconfigure() -> None:
    shutil.rmtree(_DATA, ignore_errors=True)


@pytest.fixture(autouse=True)
def _quiet_surroundings(settings: Any) -> None:
    """No broker and no collected static files are needed to render a page or to submit a job."""
    from portal.celery import app

    settings.STORAGES = settings.STORAGES | {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
    app.conf.broker_url = "memory://"


@pytest.fixture
def person(db: None) -> Any:
    """An ordinary person."""
    from portal.accounts.models import User

    return User.objects.create_user("ada", password="correct horse battery")


@pytest.fixture
def administrator(db: None) -> Any:
    """The local administrator."""
    from portal.accounts.services import local_administrator

    return local_administrator()


@pytest.fixture
def run_now() -> Any:
    """Runs a waiting job to its end in this process, as a worker would, and returns it fresh from the database."""
    from portal.jobs import engine

    def run(job: Any) -> Any:
        engine.execute(str(job.pk))
        job.refresh_from_db()
        return job

    return run
