"""The floors of the house, proved in fresh interpreters: what the web process and the lower floors never import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {
    "torch", "onnx", "onnxruntime", "faiss", "uproot", "awkward", "xgboost", "lightgbm", "sklearn", "scipy", "h5py", "pyarrow",
    "sentence_transformers", "transformers", "bm25s", "langchain", "langchain_core", "langchain_openai", "openai", "xllamacpp",
    "ROOT", "mcp", "starlette",
}  # fmt: skip
WEB = {"django", "celery", "ninja", "allauth", "uvicorn", "kombu"}


def modules_after(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after running ``code``."""
    script = f"{code}\nimport sys, json; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "portal.settings"}
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT, env=environment, timeout=60
    )
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import django; django.setup()",
        "import django; django.setup(); from django.urls import get_resolver; get_resolver().url_patterns",
        "from portal.asgi import application",
        "from portal.celery import app; import django; django.setup(); app.loader.import_default_modules()",
        "from portal.cli import main",
    ],
)
def test_the_web_process_imports_no_heavy_library(code: str) -> None:
    assert modules_after(code) & HEAVY == set()


def test_a_rendered_page_imports_no_heavy_library() -> None:
    code = (
        "import django; django.setup(); from django.test import RequestFactory; from portal.home.health import healthz;"
        "healthz(RequestFactory().get('/healthz'))"
    )
    assert modules_after(code) & HEAVY == set()


@pytest.mark.parametrize("package", ["mlcore", "mlcore.forests", "mlcore.toolchain.sandbox", "assistant", "kernels"])
def test_the_lower_floors_do_not_know_the_web(package: str) -> None:
    assert modules_after(f"import {package}") & WEB == set()


def test_the_child_of_a_job_starts_without_django() -> None:
    assert modules_after("import portal.jobs.child") & (WEB | HEAVY) == set()


def test_the_import_contracts_hold() -> None:
    result = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert result.returncode == 0, result.stdout


def test_checking_a_training_set_imports_no_heavy_library() -> None:
    """The web process does so: the form's filter is parsed, and the parts of the job are planned there."""
    code = (
        "import django; django.setup(); from portal.jobs import registry; job = registry.get('training-set');"
        "params = job.parse({'files': ['a', 'b'], 'filter': 'pt > 20', 'define': 'm = 2 * pt'});"
        "assert len(job.parts(params, {'a': 10**9, 'b': 10})) == 2"
    )
    assert modules_after(code) & HEAVY == set()
