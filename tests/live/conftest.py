"""Running portals for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.portal import Portal


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A running portal that the tests of a module share; each leaves it running and healthy."""
    running = Portal(tmp_path_factory.mktemp("portal"))
    try:
        yield running.start()
    finally:
        running.close()


@pytest.fixture
def own_portal(tmp_path: Path) -> Iterator[Portal]:
    """A portal, not started, that a test may stop and kill as it likes."""
    one = Portal(tmp_path)
    try:
        yield one
    finally:
        one.close()
