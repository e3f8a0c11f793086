"""What is done before the processes start."""

from __future__ import annotations

import pytest
from django.utils import timezone

from portal.home import health
from portal.jobs.models import Pulse
from portal.supervisor import prepare


@pytest.mark.django_db
def test_workers_of_an_earlier_start_do_not_count() -> None:
    """Within fifteen seconds of a stop the next start would call itself ready before its workers are."""
    for queue in health.QUEUES:
        Pulse.objects.create(name=queue, at=timezone.now())
    assert health._workers().ok
    prepare.forget_workers()
    assert not health._workers().ok
