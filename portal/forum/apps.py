from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class ForumConfig(AppConfig):
    name = "portal.forum"
    label = "forum"

    def ready(self) -> None:
        # After django.contrib.auth's own receiver, which makes the permission: its app is installed before this one.
        post_migrate.connect(_make_group, sender=self)


def _make_group(**_kwargs: Any) -> None:
    """The group of those who review drafts; the administrator puts people into it."""
    from portal.forum.services import make_group

    make_group()
