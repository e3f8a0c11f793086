"""Files in a bucket: the library and the artefacts of jobs against a real S3 protocol server on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from django.core.files.storage import default_storage
from django.test import override_settings
from moto.server import ThreadedMotoServer

from portal.jobs import services as jobs
from portal.jobs.models import Job, JobState
from portal.library import services
from portal.settings import _storage as storage_setting

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:botocore"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # botocore leaves its connections to the collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[Any]:
    """An empty bucket, which the portal's storage setting points at."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client("s3", endpoint_url=endpoint)
    client.create_bucket(Bucket="ml4ep")
    environment = settings.ENV.model_copy(update={"storage_url": f"s3://ml4ep/portal?endpoint={endpoint}"})
    monkeypatch.setattr("portal.settings.ENV", environment)
    try:
        with override_settings(STORAGES=settings.STORAGES | {"default": storage_setting()}):
            yield client
    finally:
        client.close()
        server.stop()


def keys(client: Any) -> list[str]:
    return [item["Key"] for item in client.list_objects_v2(Bucket="ml4ep").get("Contents", [])]


def test_an_upload_lies_in_the_bucket_once_and_goes_with_its_last_file(bucket: Any, person: Any) -> None:
    content = [b"hello ", b"bucket"]
    first = services.store_upload(person, "a.txt", content)
    second = services.store_upload(person, "b.txt", content)
    assert keys(bucket) == [f"portal/library/{first.sha256[:2]}/{first.sha256}"]
    with services.open_file(first) as file:
        assert file.read() == b"hello bucket"
    services.delete(first)
    assert len(keys(bucket)) == 1
    services.delete(second)
    assert keys(bucket) == []


def test_a_job_reads_its_input_from_the_bucket_and_leaves_its_artefacts_there(
    bucket: Any, person: Any, administrator: Any, run_now: Callable[[Job], Job]
) -> None:
    file = services.store_upload(person, "hollow.json", [b'{"learner": {"gradient_booster": {}}, "version": [3, 2, 0]}'])
    assert file.inspection_job is not None
    inspection = run_now(file.inspection_job)
    assert inspection.state == JobState.FAILED
    assert inspection.error_code not in ("internal", "crashed"), "the child could read the file, and refused what is in it"

    job = run_now(jobs.submit(administrator, "worker-check", {"seconds": 0}))
    assert job.state == JobState.SUCCEEDED, job.error_message
    artifact = job.artifacts.get()
    with default_storage.open(artifact.path) as stored:
        assert len(stored.read()) == artifact.size
    jobs.delete(job)
    assert not any("artifacts" in key for key in keys(bucket))
