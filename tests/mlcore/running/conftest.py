"""Code is run where there is bubblewrap alone."""

from __future__ import annotations

import pytest

from mlcore.toolchain import sandbox


@pytest.fixture
def bubblewrap() -> None:
    """Skips a test where the sandbox cannot be had."""
    if sandbox.isolation().name != "bubblewrap":
        pytest.skip(f"needs a working bubblewrap: {sandbox.isolation().detail}")


@pytest.fixture
def root(bubblewrap: None) -> None:
    """Skips a test where there is no ROOT, too."""
    pytest.importorskip("ROOT", reason="the root wheel is for Linux only")
