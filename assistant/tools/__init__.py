"""What the assistant can do besides reading: tools, and the loop in which a language model calls them.

A `Tool` says what it takes as a JSON schema and gives an `Outcome`: a text for the model, a line for the person, and passages
that the answer may cite. `work` lets a model that knows how to call tools do so before it answers; `given` puts what came of it
before the passages of the search, so that the answer cites it like any other source. Nothing here can change anything: a
tool that would hands back an offer, which a person accepts or not.

Public names: `Tool`, `Outcome`, `ToolError`, `Call`, `ToolSpec`, `SupportsTools`; `work`, `Started`, `Ended`; `given`;
`documentation_tools`.
"""

from __future__ import annotations

from assistant.tools.base import Call, Outcome, SupportsTools, Tool, ToolError, ToolSpec
from assistant.tools.documentation import documentation_tools
from assistant.tools.evidence import given
from assistant.tools.loop import Ended, Started, run, work

__all__ = [
    "Call",
    "Ended",
    "Outcome",
    "Started",
    "SupportsTools",
    "Tool",
    "ToolError",
    "ToolSpec",
    "documentation_tools",
    "given",
    "run",
    "work",
]
