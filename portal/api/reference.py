"""The OpenAPI document, open to everybody; the reference page for people; the answer for addresses that do not exist."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from portal.api.errors import ApiError, answer
from portal.api.openapi import SCHEMAS, document

METHODS = ("get", "post", "put", "patch", "delete")


@require_safe
def openapi(request: HttpRequest) -> JsonResponse:
    """The OpenAPI document."""
    return JsonResponse(document())


@csrf_exempt
def unknown(request: HttpRequest) -> HttpResponse:
    """The answer of every other address."""
    return answer(ApiError(404, f"There is nothing at {request.path}.", hint="The addresses are listed at /api/v1/."))


@require_safe
@login_required
def page(request: HttpRequest) -> HttpResponse:
    """Every operation with its parameters, body and answers, rendered here: no script, nothing from elsewhere."""
    made = document()
    groups: dict[str, list[dict[str, Any]]] = {tag["name"]: [] for tag in made["tags"]}
    for path, methods in made["paths"].items():
        for method in METHODS:
            if method in methods:
                operation = methods[method]
                groups[operation["tags"][0]].append(_operation(made, path, method, operation))
    context = {
        "title": made["info"]["title"],
        "version": made["info"]["version"],
        "groups": [{"name": name, "anchor": name.replace(" ", "-"), "operations": found} for name, found in groups.items()],
        "job_types": _job_types(made),
        "error": _example(made, {"$ref": SCHEMAS + "Error"}),
        "public_url": settings.PUBLIC_URL,
    }
    return render(request, "api/reference.html", context)


def _operation(made: Mapping[str, Any], path: str, method: str, operation: Mapping[str, Any]) -> dict[str, Any]:
    body = operation.get("requestBody", {}).get("content", {})
    return {
        "id": operation["operationId"],
        "method": method.upper(),
        "path": path,
        "summary": operation["summary"],
        "description": operation.get("description", ""),
        "parameters": [
            _field(made, each["name"], each["schema"], each["required"], each["in"]) for each in operation["parameters"]
        ],
        "body_type": next(iter(body), ""),
        "body": [_body(made, content["schema"]) for kind, content in body.items() if kind == "application/json"],
        "answers": [_answer(made, status, each) for status, each in sorted(operation["responses"].items()) if int(status) < 400],
        "refusals": [status for status in sorted(operation["responses"]) if int(status) >= 400],
    }


def _body(made: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    resolved = _resolve(made, schema)
    return {"fields": _fields(made, resolved), "choices": bool(resolved.get("oneOf"))}


def _answer(made: Mapping[str, Any], status: str, response: Mapping[str, Any]) -> dict[str, Any]:
    contents: Mapping[str, Mapping[str, Any]] = response.get("content", {})
    kind = next(iter(contents), "")
    content = contents.get(kind, {})
    example = _example(made, content["schema"]) if "schema" in content else ""
    return {"status": status, "kind": kind, "example": example, "description": response["description"]}


def _job_types(made: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each job type's parameters."""
    mapping = made["components"]["schemas"]["JobSubmission"]["discriminator"]["mapping"]
    found = []
    for slug, reference in mapping.items():
        submission = _resolve(made, {"$ref": reference})
        params = _resolve(made, submission["properties"]["params"])
        about = {"slug": slug, "title": submission["title"], "summary": submission["description"]}
        found.append(about | {"fields": _fields(made, params)})
    return found


def _fields(made: Mapping[str, Any], schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    required = schema.get("required", ())
    return [_field(made, name, each, name in required, "") for name, each in schema.get("properties", {}).items()]


def _field(made: Mapping[str, Any], name: str, schema: Mapping[str, Any], required: bool, place: str) -> dict[str, Any]:
    resolved = _resolve(made, schema)
    return {
        "name": name,
        "type": _type(made, schema),
        "required": required,
        "place": place,
        "default": json.dumps(schema["default"]) if "default" in schema else "",
        "description": schema.get("description") or resolved.get("description", ""),
    }


def _type(made: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    resolved = _resolve(made, schema)
    if choices := resolved.get("anyOf") or resolved.get("oneOf"):
        return " or ".join(dict.fromkeys(_type(made, each) for each in choices))
    if "enum" in resolved:
        return " | ".join(str(each) for each in resolved["enum"])
    if "const" in resolved:
        return str(resolved["const"])
    kind = str(resolved.get("format") or resolved.get("type", "any"))
    if kind == "array":
        return f"list of {_type(made, resolved.get('items', {}))}"
    lowest, highest = resolved.get("minimum"), resolved.get("maximum")
    limits = (
        f" {lowest if lowest is not None else ''}…{highest if highest is not None else ''}"
        if (lowest, highest) != (None, None)
        else ""
    )
    return kind + limits


def _resolve(made: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref", "")
    if not reference:
        return schema
    found: Mapping[str, Any] = made["components"]["schemas"][reference.removeprefix(SCHEMAS)]
    return found


def _example(made: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """The shape of a body, as JSON with the names of types for values."""
    return json.dumps(_shape(made, schema, 0), indent=2, ensure_ascii=False)


def _shape(made: Mapping[str, Any], schema: Mapping[str, Any], depth: int) -> Any:
    resolved = _resolve(made, schema)
    if depth > 4:
        return "…"
    if properties := resolved.get("properties"):
        return {name: _shape(made, each, depth + 1) for name, each in properties.items()}
    if resolved.get("type") == "array":
        return [_shape(made, resolved.get("items", {}), depth + 1)]
    choices = [each for each in resolved.get("anyOf", ()) if each.get("type") != "null"]
    if len(choices) == 1:
        return _shape(made, choices[0], depth)
    return _type(made, schema)
