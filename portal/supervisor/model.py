"""Which embedded language model this portal runs, and where its server answers.

``python -m portal.supervisor.model --host ... --port ...`` is the model server of a deployment without our supervisor: it fetches
the configured model where it is missing and becomes its server.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from django.conf import settings


@dataclass(frozen=True)
class EmbeddedModel:
    """The model server that runs beside the portal.

    Attributes
    ----------
    name
        The model's name in the model store.
    path
        Its file, which may not be there yet: the server waits for it.
    port
        Where the server listens, on 127.0.0.1.
    """

    name: str
    path: str
    port: int

    @property
    def url(self) -> str:
        """Base address of its OpenAI-compatible API."""
        return f"http://127.0.0.1:{self.port}/v1"


def chosen_name() -> str:
    """The configured embedded model, the one that fits this machine for ``auto``, ``""`` where none is to run.

    Raises
    ------
    assistant.errors.ModelStoreError
        The manifest has no model of the configured name.
    """
    from assistant.models import default_manifest, default_model

    wanted = settings.ENV.model
    if settings.ENV.model_url or wanted == "none":
        return ""
    if wanted == "auto":
        return default_model(psutil.virtual_memory().total, os.cpu_count() or 1)
    return default_manifest().model(wanted).name


def assign() -> EmbeddedModel | None:
    """Choose model and port for this run and write them where the other processes find them; None where no model is to run."""
    from assistant.models import ModelStore

    name = chosen_name()
    if not name:
        _file().unlink(missing_ok=True)
        return None
    model = EmbeddedModel(name, str(ModelStore(settings.MODELS_DIR).target(name)), _free_port())
    temporary = _file().with_suffix(".new")
    temporary.write_text(json.dumps(asdict(model) | {"url": model.url}))
    temporary.replace(_file())
    return model


def embedded_model() -> EmbeddedModel | None:
    """The embedded model of the running portal, None where it has none."""
    try:
        found = json.loads(_file().read_text())
        return EmbeddedModel(found["name"], found["path"], found["port"])
    except (OSError, ValueError, KeyError):
        return None


def _file() -> Path:
    return Path(settings.RUN_DIR) / "model.json"


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def main(arguments: list[str]) -> None:
    """Fetch the model and become its server, with the server's own further arguments."""
    from assistant.models import ModelStore

    name = chosen_name()
    if not name:
        sys.exit("ML4EP_MODEL is none, or ML4EP_MODEL_URL names another server: there is no model to serve here")
    path = ModelStore(settings.MODELS_DIR).pull(name)
    command = [sys.executable, "-m", "assistant.providers.embedded", "--model", str(path), *arguments]
    os.execv(sys.executable, command)  # noqa: S606 - becoming the server is the purpose


if __name__ == "__main__":
    main(sys.argv[1:])
