"""The OpenAPI document is whole, and the reference page shows all of it under the portal's policy."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import get_resolver

from portal.api.openapi import document
from portal.jobs import registry

METHODS = {"get", "post", "put", "patch", "delete"}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def walk(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from walk(value)


def test_the_document_s_frame(client: Client) -> None:
    response = client.get("/api/v1/openapi.json")
    assert response["Content-Type"] == "application/json"
    made = response.json()
    assert made == document()
    assert made["openapi"].startswith("3.1.")
    assert made["info"]["title"]
    assert made["info"]["version"]
    assert set(made["components"]["securitySchemes"]) == {"Token", "Session"}
    assert made["components"]["securitySchemes"]["Token"]["scheme"] == "bearer"


def test_every_reference_leads_somewhere() -> None:
    made = document()
    references = {node["$ref"] for node in walk(made) if isinstance(node.get("$ref"), str)}
    assert references
    for reference in references:
        assert reference.startswith("#/")
        node: Any = made
        for part in reference[2:].split("/"):
            assert part in node, reference
            node = node[part]


def test_names_of_schemas_are_allowed() -> None:
    for name in document()["components"]["schemas"]:
        assert re.fullmatch(r"[a-zA-Z0-9._-]+", name), name


def test_operations_are_whole() -> None:
    seen = set()
    for path, method, operation in operations():
        where = f"{method} {path}"
        assert method in METHODS, where
        assert operation["operationId"] not in seen, where
        seen.add(operation["operationId"])
        assert operation["summary"], where
        assert operation["description"], where
        assert operation["tags"], where
        assert operation["security"] == [{"Token": []}, {"Session": []}], where
        in_path = set(re.findall(r"{(\w+)}", path))
        declared = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
        assert in_path == declared, where
        statuses = {int(status) for status in operation["responses"]}
        assert any(200 <= status < 300 for status in statuses), where
        assert 401 in statuses, where
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert response["content"]["application/json"]["schema"]["$ref"].endswith("/Error"), where
        if method in ("get", "delete"):
            assert "requestBody" not in operation, where
    assert len(seen) > 20


def test_every_address_is_described() -> None:
    (api,) = [each for each in get_resolver().url_patterns if str(each.pattern) == "api/v1/"]
    routes = {str(each.pattern) for each in api.url_patterns} - {"", "openapi.json", ".*"}
    plain = {"/api/v1/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route) for route in routes}
    assert plain == set(document()["paths"])


def test_a_submission_is_one_of_the_job_types_with_the_registry_s_own_schema() -> None:
    schemas = document()["components"]["schemas"]
    mapping = schemas["JobSubmission"]["discriminator"]["mapping"]
    listed = {slug: each for slug, each in registry.all_types().items() if each.listed}
    assert set(mapping) == set(listed)
    for slug, job_type in listed.items():
        body = schemas[mapping[slug].rsplit("/", 1)[-1]]
        assert body["properties"]["type"]["const"] == slug
        params = schemas[body["properties"]["params"]["$ref"].rsplit("/", 1)[-1]]
        own = job_type.schema()
        assert set(params["properties"]) == set(own["properties"])
        assert params.get("required") == own.get("required")
        assert json.dumps(params).count("#/$defs/") == 0


def test_defs_of_a_job_type_move_into_the_document() -> None:
    from portal.api.openapi import _relocated

    schema = {"properties": {"a": {"$ref": "#/$defs/Colour"}, "b": [{"$ref": "#/$defs/Size"}]}}
    assert _relocated(schema, "params-x") == {
        "properties": {
            "a": {"$ref": "#/components/schemas/params-x-Colour"},
            "b": [{"$ref": "#/components/schemas/params-x-Size"}],
        }
    }


def test_the_page_needs_nothing_that_the_policy_forbids(client: Client, person: Any, settings: Any) -> None:
    client.force_login(person)
    response = client.get("/api/v1/")
    assert response.status_code == 200
    assert response["Content-Security-Policy"] == settings.CONTENT_SECURITY_POLICY
    html = response.text
    assert not re.search(r"<style|\sstyle=|<script(?![^>]*\ssrc=)|\son\w+=|javascript:", html)
    for address in re.findall(r'(?:src|href)="([^"]*)"', html):
        assert address.startswith(("/", "#")), address


def test_the_page_shows_every_operation_and_parameter(client: Client, person: Any) -> None:
    client.force_login(person)
    html = client.get("/api/v1/").text
    for path, method, operation in operations():
        assert f'id="{operation["operationId"]}"' in html
        assert f"<b>{method.upper()}</b> {path}" in html
    for slug, job_type in registry.all_types().items():
        if job_type.listed:
            assert f'id="type-{slug}"' in html
            for name in job_type.schema()["properties"]:
                assert name in html


def test_loading_the_api_imports_no_heavy_library() -> None:
    import subprocess
    import sys

    code = (
        "import os, sys, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'portal.settings'; django.setup();"
        "import portal.api.urls; from portal.api.openapi import document; document();"
        "heavy = {'torch', 'onnx', 'faiss', 'uproot', 'xgboost', 'lightgbm', 'sentence_transformers', 'bm25s', 'langchain'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_document_is_open_and_the_page_is_for_people(client: Client, person: Any) -> None:
    assert client.get("/api/v1/openapi.json").status_code == 200
    assert client.get("/api/v1/").url.startswith("/accounts/login/")  # type: ignore[attr-defined]
    client.force_login(person)
    assert client.get("/api/v1/").status_code == 200


@pytest.mark.parametrize("path", ["", "openapi.json"])
def test_the_description_is_read_only(client: Client, db: None, path: str) -> None:
    refused = client.post(f"/api/v1/{path}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (405, "method")
