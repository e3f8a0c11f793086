"""The OpenAPI document: what the operations declare, and the parameters' schema of each job type."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from portal.api.routes import api
from portal.jobs import registry

PREFIX = "api/v1/"
SCHEMAS = "#/components/schemas/"


@cache
def document() -> Mapping[str, Any]:
    """The OpenAPI 3.1 document."""
    # Through JSON, so that nothing in it is shared with the framework's own objects.
    made: dict[str, Any] = json.loads(json.dumps(api.get_openapi_schema(path_prefix=PREFIX)))
    made["info"]["license"] = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
    made["servers"] = [{"url": "/", "description": "This portal"}]
    made["tags"] = [{"name": name} for name in ("job types", "jobs", "files", "ask", "conversations", "portal")]
    _add_job_types(made)
    return made


def _add_job_types(made: dict[str, Any]) -> None:
    """Make the body of a submission one of the job types, each with its own parameters."""
    schemas = made["components"]["schemas"]
    plain = schemas["JobSubmission"]
    choices = {}
    for slug, job_type in sorted(registry.all_types().items()):
        if not job_type.listed:
            continue
        params, body = f"params-{slug}", f"submit-{slug}"
        schema = _relocated(job_type.schema(), params)
        schemas |= {f"{params}-{name}": part for name, part in schema.pop("$defs", {}).items()}
        schemas[params] = schema
        properties = plain["properties"] | {"type": {"const": slug, "type": "string"}, "params": {"$ref": SCHEMAS + params}}
        required = ["type", "params"] if schema.get("required") else ["type"]
        schemas[body] = {
            "title": job_type.title,
            "description": job_type.summary,
            "type": "object",
            "additionalProperties": False,
        }
        schemas[body] |= {"properties": properties, "required": required}
        choices[slug] = SCHEMAS + body
    mapping = {"propertyName": "type", "mapping": choices}
    schemas["JobSubmission"] = {
        "title": plain["title"],
        "description": plain["description"],
        "oneOf": [{"$ref": reference} for reference in choices.values()],
        "discriminator": mapping,
    }


def _relocated(schema: Any, owner: str) -> Any:
    """The schema with its references to its own ``$defs`` pointing to the document's schemas."""
    if isinstance(schema, list):
        return [_relocated(each, owner) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value.replace("#/$defs/", f"{SCHEMAS}{owner}-")
        if key == "$ref" and isinstance(value, str)
        else _relocated(value, owner)
        for key, value in schema.items()
    }
