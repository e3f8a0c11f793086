"""The ``ml4ep`` command: one file for each noun, each importing what it needs when it is used, so that ``--help`` is quick.

Without ``--remote`` a command works on this machine: `run`, `network`, `ask`, `retrieve`, `corpus` and `models` need no server at
all; `job` and `files` use the database of this machine's portal. With ``--remote URL`` they use a portal through its REST API.
"""

from __future__ import annotations


def main() -> None:
    """The entry point of the ``ml4ep`` command."""
    from portal.cli.app import app

    app(prog_name="ml4ep")
