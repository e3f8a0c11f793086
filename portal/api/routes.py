"""The API: its nouns, who may use it, how it fails."""

from __future__ import annotations

from importlib import metadata

from ninja import NinjaAPI

from portal.api import ask, auth, conversations, errors, files, job_types, jobs, me, status, symbols

DESCRIPTION = """Everything the pages do, for programs.

Send `Authorization: Bearer TOKEN` with each request; tokens are made on the account page or by `ml4ep token create`. Pages of the
portal may use their session instead, with the CSRF token as `X-CSRFToken`.

An answer with a status of 400 or above is `{"error": {"code", "message", "hint", "problems"}}`. Things of other people are
answered as if they did not exist."""

api = NinjaAPI(
    title="ML4EP Portal",
    version=metadata.version("ml4ep-portal"),
    description=DESCRIPTION,
    auth=[auth.Token(), auth.Session()],
    urls_namespace="api",
    openapi_url=None,
    docs_url=None,
)
errors.install(api)
api.add_router("job-types", job_types.router)
api.add_router("jobs", jobs.router)
api.add_router("files", files.router)
api.add_router("ask", ask.router)
api.add_router("retrieve", ask.retrieval)
api.add_router("symbols", symbols.router)
api.add_router("conversations", conversations.router)
api.add_router("use", conversations.use)
api.add_router("status", status.router)
api.add_router("me", me.router)
