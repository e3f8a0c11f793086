"""The one Celery task of jobs: the message holds the id alone, everything else is in the database."""

from __future__ import annotations

from celery import shared_task


@shared_task(name="portal.jobs.run_job")  # type: ignore[untyped-decorator]  # celery has no types
def run_job(job_id: str) -> None:
    """Run the job, unless it runs or has ended already (a message may come twice)."""
    from portal.jobs import engine

    engine.execute(job_id)
