"""The client of GitHub's issues against a server on this machine that speaks its JSON."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from assistant.github import GitHub, GitHubError
from tests.assistant.github_server import REPOSITORY, TOKEN, FakeGitHub, serving

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def hub() -> Iterator[FakeGitHub]:
    with serving() as made:
        yield made


@pytest.fixture
def client(hub: FakeGitHub) -> Iterator[GitHub]:
    with GitHub(REPOSITORY, token=TOKEN, base_url=hub.url, timeout=1.0, sleep=lambda _seconds: None) as made:
        yield made


def test_an_issue_with_its_comments(hub: FakeGitHub, client: GitHub) -> None:
    number = hub.add_issue("Crash", "<!-- Fill in -->\nIt crashes.\x00", labels=("bug", "rdf"))
    hub.add_comment(number, "Same here", by="dependabot[bot]")
    issue = client.issue(number)
    assert (issue.title, issue.body, issue.labels, issue.by.login) == ("Crash", "It crashes.", ("bug", "rdf"), "ada")
    assert issue.open
    assert not issue.pull_request
    assert not issue.by.bot
    (comment,) = client.comments(number)
    assert comment.by.bot
    assert client.issue(hub.add_pull()).pull_request


def test_lists_are_followed_page_by_page_and_ordered_by_change(hub: FakeGitHub, client: GitHub) -> None:
    for number in range(250):
        hub.add_issue(f"Issue {number}", age=timedelta(seconds=250 - number))
    hub.add_issue("Old", age=timedelta(days=3000))
    found = list(client.changed(datetime.now(UTC) - timedelta(hours=1)))
    assert [issue.number for issue in found] == list(range(1, 251))
    assert len(hub.requests) == 3
    assert "page=3" in hub.requests[-1]


def test_what_has_not_changed_is_not_sent_again(hub: FakeGitHub, client: GitHub) -> None:
    first = hub.add_issue()
    one, two = list(client.changed(LONG_AGO)), list(client.changed(LONG_AGO))
    assert one == two
    assert hub.not_modified == 1
    hub.change(first, title="Changed")
    assert next(client.changed(LONG_AGO)).title == "Changed"
    assert hub.not_modified == 1


def test_a_used_up_limit_stops_all_requests_until_it_opens(hub: FakeGitHub) -> None:
    now = [time.time()]
    number = hub.add_issue()
    with GitHub(REPOSITORY, token=TOKEN, base_url=hub.url, sleep=lambda _s: None, now=lambda: now[0]) as client:
        hub.faults = lambda _path: "limit"
        hub.reset = now[0] + 300
        with pytest.raises(GitHubError) as caught:
            client.issue(number)
        assert not caught.value.permanent
        assert 298 <= (caught.value.retry_after or 0) <= 302
        asked = len(hub.requests)
        hub.faults = lambda _path: None
        with pytest.raises(GitHubError, match="used up"):
            client.issue(number)
        assert len(hub.requests) == asked, "nothing is asked while it is closed"
        now[0] += 302
        assert client.issue(number).number == number


@pytest.mark.parametrize("fault", ["secondary", "429", "500", "drop", "html"])
def test_what_may_pass_is_tried_again(hub: FakeGitHub, client: GitHub, fault: str) -> None:
    number = hub.add_issue()
    left = iter([fault, fault])
    hub.faults = lambda _path: next(left, None)
    assert client.issue(number).number == number
    assert len(hub.requests) == 3


@pytest.mark.parametrize("fault", ["secondary", "429"])
def test_a_long_pause_is_the_callers(hub: FakeGitHub, client: GitHub, fault: str) -> None:
    hub.faults, hub.retry_after = (lambda _path: fault), "90"
    with pytest.raises(GitHubError) as caught:
        client.issue(1)
    assert caught.value.retry_after == 90
    assert len(hub.requests) == 1


def test_what_cannot_help_is_tried_once(hub: FakeGitHub, client: GitHub) -> None:
    with pytest.raises(GitHubError) as caught:
        client.issue(99)
    assert caught.value.missing
    hub.faults = lambda _path: "302"
    with pytest.raises(GitHubError) as caught:
        client.issue(1)
    assert caught.value.missing, "redirects are not followed"
    with (
        GitHub(REPOSITORY, token="wrong-token", base_url=hub.url) as other,
        pytest.raises(GitHubError, match="refuses the token") as caught,
    ):
        other.issue(1)
    assert caught.value.permanent
    assert "wrong-token" not in f"{caught.value} {caught.value.hint} {other!r}"
    assert len(hub.requests) == 3


def test_a_link_that_leads_elsewhere_is_not_followed(hub: FakeGitHub, client: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(101):
        hub.add_issue()
    real, hub.url = hub.url, "http://evil.example.org"
    with pytest.raises(GitHubError, match="another place"):
        list(client.changed(LONG_AGO))
    hub.url = real


@pytest.mark.parametrize(
    "fields",
    [{"number": "1"}, {"created_at": "yesterday"}, {"created_at": "2026-01-01T00:00:00"}, {"labels": 5}, {"user": {"id": "x"}}],
)
def test_fields_of_the_wrong_type_are_errors(hub: FakeGitHub, client: GitHub, fields: dict[str, Any]) -> None:
    number = hub.add_issue(**{name: value for name, value in fields.items() if name not in ("created_at", "labels")})
    hub.issues[number] |= fields
    with pytest.raises(GitHubError) as caught:
        client.issue(number)
    assert caught.value.code == "github.garbage"


def test_missing_fields_have_their_empty_value(hub: FakeGitHub, client: GitHub) -> None:
    number = hub.add_issue(body=None, user=None, labels=())
    issue = client.issue(number)
    assert (issue.body, issue.by.login, issue.labels) == ("", "ghost", ())


@pytest.mark.parametrize("name", ["", "root", "a/b/c", "../x", "a/b?c", "-/x"])
def test_repositories_have_a_name(name: str) -> None:
    with pytest.raises(GitHubError, match="no repository"):
        GitHub(name)


def test_the_client_cannot_write(hub: FakeGitHub, client: GitHub) -> None:
    assert {name for name in vars(type(client)) if not name.startswith("_")} == {"close", "changed", "issue", "comments"}
    client.issue(hub.add_issue())
    assert hub.writes == 0
