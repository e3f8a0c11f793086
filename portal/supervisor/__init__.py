"""One command for the whole portal: `up` starts broker, web servers, workers, beat and model server, and keeps them running."""

from __future__ import annotations

from portal.supervisor.main import up

__all__ = ["up"]
