"""What every page's template knows."""

from __future__ import annotations

import contextlib
import platform
import re
from dataclasses import dataclass
from functools import cache
from importlib import metadata, util
from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse


@dataclass(frozen=True)
class Place:
    """An entry of the top bar: its URL name, its title, and the key that goes there after ``g`` (or alone)."""

    name: str
    title: str
    key: str
    url: str


PLACES = (
    ("ask", "Ask", "a"),
    ("job-new", "New job", "n"),
    ("job-list", "Jobs", "j"),
    ("library", "Library", "l"),
    ("showers", "Showers", "w"),
    ("benchmarks", "Benchmarks", "b"),
    ("status", "Status", "s"),
)


def portal(request: HttpRequest) -> dict[str, Any]:
    """The places of the top bar, which of them this is, the theme, and the versions in the footer. Makes no query of its
    own, but one in half a minute for who may review the forum's drafts."""
    from portal.forum.services import may_review

    user = getattr(request, "user", None)
    theme = getattr(user, "theme", "auto")
    reviews = may_review(user)
    return {
        "places": (*places(), *reviewers_places()) if reviews else places(),
        "may_review": reviews,
        "urls": addresses(),
        "here": here(request.path),
        "theme": theme if theme != "auto" else "",
        "release": release(),
        "root_release": root_release(),
        "api_docs_url": api_docs_url(),
        "may_sign_up": settings.ENV.signup,
        "oidc": bool(settings.ENV.oidc_url),
    }


@cache
def places() -> tuple[Place, ...]:
    """The top bar's entries."""
    return tuple(Place(name, title, key, reverse(name)) for name, title, key in PLACES)


@cache
def reviewers_places() -> tuple[Place, ...]:
    """The entries for those alone who review what the forum bot writes."""
    return (Place("forum", "Forum", "f", reverse("forum")),)


@cache
def addresses() -> dict[str, str]:
    """The addresses that nearly every page names, found once: a search in all addresses for each link of a page adds up."""
    names = ("home", "account", "account_login", "status", "status-strip", "job-list", "job-new", "library", "ask", "admin:index")
    return {name.replace("-", "_").replace("admin:index", "admin"): reverse(name) for name in names}


def here(path: str) -> str:
    """The place an address belongs to: the longest of the places' addresses that it starts with."""
    if path == "/":
        return "home"
    starts = _starts()
    found = [url for url in starts if path == url or path.startswith(url.rstrip("/") + "/")]
    return starts[max(found, key=len)] if found else ""


@cache
def _starts() -> dict[str, str]:
    return {place.url: place.name for place in (*places(), *reviewers_places())} | {reverse("account"): "account"}


@cache
def api_docs_url() -> str:
    """Where the REST API describes itself."""
    return reverse("api:openapi-view")


@cache
def release() -> str:
    """The version of the portal."""
    return metadata.version("ml4ep-portal")


@cache
def root_release() -> str:
    """The version of the ROOT that is installed beside the portal, ``""`` where there is none.

    Read from ROOT's own header: importing ROOT takes seconds and hundreds of megabytes.
    """
    spec = util.find_spec("ROOT")
    if spec is None or spec.origin is None:
        return ""
    try:
        text = (Path(spec.origin).parent / "include" / "ROOT" / "RVersion.hxx").read_text()
    except OSError:
        return ""
    parts = [re.search(rf"define ROOT_VERSION_{part}\s+(\d+)", text) for part in ("MAJOR", "MINOR", "PATCH")]
    numbers = [int(part[1]) for part in parts if part]
    return f"{numbers[0]}.{numbers[1]:02d}.{numbers[2]:02d}" if len(numbers) == 3 else ""


@cache
def versions() -> tuple[tuple[str, str], ...]:
    """What the portal runs on: (name, version), from package metadata, without importing any of it."""
    names = (
        "django",
        "celery",
        "torch",
        "onnx",
        "xgboost-cpu",
        "lightgbm",
        "uproot",
        "faiss-cpu",
        "sentence-transformers",
        "xllamacpp",
    )
    found = [("ML4EP Portal", release()), ("Python", platform.python_version())]
    if root_release():
        found.append(("ROOT", root_release()))
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.append((name, metadata.version(name)))
    return tuple(found)
