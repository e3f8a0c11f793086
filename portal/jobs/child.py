"""The process that runs one job: ``python -m portal.jobs.child FOLDER DESCRIPTOR``.

Started by `portal.jobs.engine` inside the sandbox, without database, broker or network. It reads ``request.json`` in FOLDER and
writes messages, one JSON object a line, to DESCRIPTOR.
"""

from __future__ import annotations

import json
import platform
import sys
import tempfile
import traceback
from importlib import metadata
from pathlib import Path
from typing import Any

from portal.jobs import registry
from portal.jobs.context import JobContext, Message, PipeSender


def main(folder: Path, descriptor: int) -> int:
    """Run the job described in ``folder`` and report how it ended."""
    send = PipeSender(descriptor)
    request = json.loads((folder / "request.json").read_text())
    if registry.get(request["type"]).foreign_code:  # the folder is for it to read alone
        output = Path(tempfile.mkdtemp(prefix="out-"))
    else:
        output = folder / "out"
        output.mkdir(exist_ok=True)
    send(outcome(request, output, send))
    return 0


def outcome(request: dict[str, Any], output: Path, send: Any) -> Message:
    """Run the job and return the last message: a result, the user's mistake, or a crash of ours."""
    from assistant.errors import AssistantError
    from mlcore.errors import MLCoreError, VerificationError

    job_type = registry.get(request["type"])
    files, places = ({key: Path(path) for key, path in request[name].items()} for name in ("files", "places"))
    parts = [[Path(path) for path in paths] for paths in request.get("parts", ())]
    kept = {name: Path(path) for name, path in request.get("kept", {}).items()}
    names = request.get("names", {})
    context = JobContext(output, files, send, places, names, parts, kept, send_files=job_type.foreign_code)

    def named(text: str) -> str:
        """A text with the names that people gave to files instead of where they lie here."""
        for reference, path in files.items():
            for shown in (str(path), path.name):
                text = text.replace(shown, context.name(reference))
        return text

    try:
        result = job_type.run(context, job_type.parse(request["params"]))
    except (VerificationError, NotImplementedError):
        return {"crash": traceback.format_exc()}
    except (MLCoreError, AssistantError) as error:
        return {"error": {"code": error.code, "message": named(str(error)), "hint": named(error.hint)}}
    except MemoryError:
        return {"error": {"code": "limit.memory", "message": "The job needs more memory than it may use.", "hint": ""}}
    except Exception:
        return {"crash": traceback.format_exc()}
    return {"result": result.to_json(), "manifest": versions(job_type.versions)}


def versions(distributions: tuple[str, ...]) -> dict[str, str]:
    """The versions that a result depends on."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in ("ml4ep-portal", *distributions):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
