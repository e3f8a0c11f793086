"""The REST API under ``/api/v1/``: one module for each noun, one shape for every error, one OpenAPI document.

`portal.api.routes` puts the nouns together; `portal.api.urls` mounts them with the document and the reference page.
"""
