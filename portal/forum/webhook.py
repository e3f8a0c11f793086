"""Where the forum tells what happened. A webhook only says where to look: the signature is checked, the content not believed."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from portal.forum import compose, corpus, services
from portal.forum.models import Source, Topic

BODY_LIMIT = 2 * 2**20  # bytes
_TIMES = ("created_at", "updated_at", "deleted_at", "last_posted_at", "bumped_at")


@csrf_exempt
@require_POST
def webhook(request: HttpRequest) -> HttpResponse:
    """Take a webhook of the forum; answers what became of it.

    403 where the signature is wrong or there is no secret, 413 where it is too long, 400 where it is not understood. A body that
    came before, or is older than deliveries are kept, changes nothing and is answered with 200: the forum would send it again.
    """
    secret = settings.ENV.forum_webhook_secret.get_secret_value()
    if not (settings.ENV.forum_url and secret):
        return _answer(403, "no webhook is set up")
    try:
        length = int(request.headers.get("Content-Length") or 0)
    except ValueError:
        return _answer(400, "the length is not a number")
    if length > BODY_LIMIT:
        return _answer(413, "the body is too long")
    body = request.read(BODY_LIMIT + 1)
    if len(body) > BODY_LIMIT:
        return _answer(413, "the body is too long")
    wanted = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    given = request.headers.get("X-Discourse-Event-Signature", "")
    if not hmac.compare_digest(wanted.encode(), given.encode()):
        return _answer(403, "the signature is wrong")
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        return _answer(400, "the body is not JSON")
    if not isinstance(payload, dict):
        return _answer(400, "the body is not an object")
    return _answer(200, _take(body, request.headers.get("X-Discourse-Event", ""), payload))


def _answer(status: int, outcome: str) -> JsonResponse:
    return JsonResponse({"outcome": outcome}, status=status)


def _take(body: bytes, event: str, payload: Mapping[str, Any]) -> str:
    """Act on a genuine webhook; says what was done."""
    if "ping" in payload:
        return "pong"
    forum = services.forum()
    if not forum.enabled:
        return "ignored: the bot is switched off"
    topic, post = payload.get("topic"), payload.get("post")
    about_topic = isinstance(topic, Mapping)
    row: Mapping[str, Any] | None = topic if about_topic else post if isinstance(post, Mapping) else None
    if row is None:
        return "ignored: neither topic nor post"
    moments = [moment for name in _TIMES if (moment := _time(row.get(name))) is not None]
    if not moments or timezone.now() - max(moments) > services.OLDEST_DELIVERY:
        return "ignored: too old"
    number, category = row.get("id" if about_topic else "topic_id"), row.get("category_id")
    if not isinstance(number, int) or isinstance(number, bool):
        return "ignored: no number"
    known = Topic.objects.filter(source=Source.DISCOURSE, number=number).exists()
    if not known and not about_topic and not forum.mirror:
        return "ignored: not a topic that the bot reads"
    if not known and about_topic and category not in forum.categories and not corpus.has(number):
        return "ignored: another category"
    with transaction.atomic():  # what was noted was acted on, or the forum sends it again
        if not services.take_delivery(body, event):
            return "ignored: seen before"
        created = _time(row.get("created_at"))
        if about_topic and isinstance(category, int) and category in forum.categories and created is not None:
            services.see(number, title=compose.storable(row.get("title")), category=category, tags=_tags(row), created_at=created)
        if forum.mirror:
            corpus.mark(number)
        if known:
            transaction.on_commit(lambda: services.enqueue_recheck(number))
        transaction.on_commit(services.enqueue_next)
    return "taken"


def _tags(row: Mapping[str, Any]) -> list[str]:
    tags = row.get("tags")
    return (
        [compose.storable(tag.get("name") if isinstance(tag, Mapping) else tag)[:100] for tag in tags[:20]]
        if isinstance(tags, list)
        else []
    )


def _time(value: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found if found.tzinfo else None
