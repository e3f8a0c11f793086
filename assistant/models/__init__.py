"""Language models as files: a manifest of what they are and where they come from, and a store that fetches and checks them."""

from __future__ import annotations

from assistant.models.manifest import Manifest, Model, default_manifest, read_manifest
from assistant.models.store import ModelState, ModelStore, default_model

__all__ = ["Manifest", "Model", "ModelState", "ModelStore", "default_manifest", "default_model", "read_manifest"]
