"""What every part of the project owes: its test, its docs, and silence about the machine it was written on."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from portal.jobs import registry

ROOT = Path(__file__).resolve().parents[2]
FIXED_FOLDERS = {"portal", "assistant", "mlcore", "kernels", "templates", "tests", "docs", "benchmarks", ".ci"}


def tracked() -> list[Path]:
    """The files that git knows, and those that it would take."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout, so there is no list of the project's files")
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def test_the_top_level_is_fixed() -> None:
    folders = {path.relative_to(ROOT).parts[0] for path in tracked() if len(path.relative_to(ROOT).parts) > 1}
    assert folders <= FIXED_FOLDERS


@pytest.mark.parametrize("slug", sorted(registry.all_types()))
def test_every_job_type_has_a_test_and_a_line_in_the_docs(slug: str) -> None:
    module = slug.replace("-", "_")
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert slug in tests or module in tests, f"no test mentions the job type {slug}"
    docs = "\n".join(path.read_text() for path in (ROOT / "docs").rglob("*.md"))
    assert slug in docs, f"no page of docs/ mentions the job type {slug}"


def test_no_file_names_a_machine_path_or_a_registry() -> None:
    forbidden = re.compile(r"/work/(main|shared)|/root/|/opt/(pypi|wheels)|pypi\.org|pythonhosted|npmjs\.org|debian\.org")
    found = []
    for path in tracked():
        if path == Path(__file__) or path.suffix in {".png", ".onnx", ".root", ".gz", ".zip", ".svg"}:
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if forbidden.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert found == []


def test_no_template_has_inline_style_or_script() -> None:
    inline = re.compile(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sorted((ROOT / "templates").rglob("*.html"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if inline.search(line)
    ]
    assert found == []


def test_the_table_of_operators_is_current() -> None:
    """It is written from what the code and the installed onnx say; `make operators` writes it anew."""
    from mlcore.networks.support_table import known_failures, table

    written = (ROOT / "docs" / "reference" / "operators.md").read_text(encoding="utf-8")
    assert written == table(known_failures(ROOT / "tests" / "data" / "networks" / "known_failures.txt")), "run make operators"


def test_every_test_file_runs_in_one_process_of_make_test() -> None:
    from tests.__main__ import groups

    places = [place for group in groups(ROOT / "tests") for place in group]
    files = [file for place in places for file in ([place] if place.is_file() else place.rglob("test_*.py"))]
    assert sorted(files) == sorted((ROOT / "tests").rglob("test_*.py"))
