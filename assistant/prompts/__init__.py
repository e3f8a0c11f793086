"""Prompt texts, versioned: each answer records the version that it was written with.

A prompt file holds three parts between lines of ``+++``: its version as TOML, the system message, and the user message with
``$name`` where a text goes in.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template

_SEPARATOR = "+++\n"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt's texts and the version that names them."""

    version: str
    system: str
    user: Template


@cache
def load(name: str) -> Prompt:
    """The prompt `name` of this folder.

    Raises
    ------
    ValueError
        Where the file is not made as described above.
    """
    text = Path(__file__).with_name(f"{name}.md").read_text(encoding="utf-8")
    try:
        before, head, system, user = text.split(_SEPARATOR)
        version = tomllib.loads(head)["version"]
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"The prompt {name} needs a version, a system message and a user message, each after a +++ line."
        ) from error
    if before or not isinstance(version, str):
        raise ValueError(f"The prompt {name} must begin with +++ and name its version as a string.")
    return Prompt(version, system.strip(), Template(user.strip()))
