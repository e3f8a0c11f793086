"""``ml4ep chat`` on this machine's portal, in the same process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from django.utils import timezone

from portal.chat.models import Conversation, Share, Turn, TurnState, Usage

pytestmark = pytest.mark.django_db(transaction=True)  # the API runs in a thread of its own


@pytest.fixture
def conversation(administrator: Any) -> Conversation:
    now = timezone.now()
    made = Conversation.objects.create(owner=administrator, title="Fits")
    Turn.objects.create(
        owner=administrator, conversation=made, question="How do I fit?", text="```python\nfit()\n```", state=TurnState.DONE,
        passages=[], asked_at=now, queued_at=now, finished_at=now,
    )  # fmt: skip
    return made


def test_list_and_search(ml4ep: Any, said: Any, conversation: Conversation) -> None:
    assert [each["title"] for each in said("chat", "list")] == ["Fits"]
    assert said("chat", "list", "lunch") == []
    assert str(conversation.pk)[:8] in ml4ep("chat", "list", "fit").stdout
    assert "No conversation" in ml4ep("chat", "list", "lunch").stderr


def test_show_and_export(ml4ep: Any, conversation: Conversation, tmp_path: Path) -> None:
    number = str(conversation.pk)[:8]
    assert ml4ep("chat", "show", number).stdout.startswith("# Fits\n")
    ml4ep("chat", "export", number, "fits.ipynb")
    nbformat.validate(nbformat.read(tmp_path / "fits.ipynb", as_version=4))
    ml4ep("chat", "export", number, "fits.md")
    assert "fit()" in (tmp_path / "fits.md").read_text()
    assert "neither" in ml4ep("chat", "export", number, "fits.pdf", code=1).stderr


def test_rename_share_delete(ml4ep: Any, conversation: Conversation) -> None:
    number = str(conversation.pk)[:8]
    assert ml4ep("chat", "rename", number, "Peaks").stdout.strip() == "Peaks"
    assert ml4ep("chat", "share", number).stdout.strip().endswith(Share.objects.get().token)
    ml4ep("chat", "share", number, "--end")
    assert not Share.objects.exists()
    ml4ep("chat", "delete", number)
    assert not Conversation.objects.exists()
    assert "begins with" in ml4ep("chat", "delete", number, code=1).stderr


def test_use(ml4ep: Any, said: Any, administrator: Any) -> None:
    Usage.objects.create(kind="answer", outcome="written", owner=administrator, first_text=0.5)
    assert "1 of 1 people" in ml4ep("chat", "use").stdout
    assert said("chat", "use", "--days", "7")["counts"]["answer"] == 1
