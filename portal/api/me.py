"""The person behind the token, and how much of their quota is used."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Router, Schema
from pydantic import Field

from portal.accounts import services as accounts
from portal.api.auth import person
from portal.api.errors import refusals
from portal.jobs.models import ACTIVE, Job
from portal.jobs.services import disk_used

router = Router(tags=["portal"])


class Use(Schema):
    used: int
    allowed: int


class QuotaOut(Schema):
    disk: Use = Field(description="Bytes of files and artefacts")
    jobs: Use = Field(description="Jobs waiting or running")
    seconds: int = Field(description="Longest run of one job")
    memory: int = Field(description="Memory of one job, in bytes")


class Me(Schema):
    """You."""

    username: str
    administrator: bool
    quota: QuotaOut


@router.get("", response={200: Me} | refusals(), operation_id="get_me", summary="Get your name and quota")
def me(request: HttpRequest) -> Any:
    """Who you are, and what you use of what you may."""
    user = person(request)
    quota = accounts.quota(user)
    active = Job.objects.filter(owner=user, state__in=ACTIVE, parent=None).count()
    return {
        "username": user.get_username(),
        "administrator": user.is_staff,
        "quota": {
            "disk": {"used": disk_used(user), "allowed": quota.disk},
            "jobs": {"used": active, "allowed": quota.jobs},
            "seconds": quota.seconds,
            "memory": quota.memory,
        },
    }
