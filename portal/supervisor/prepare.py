"""What has to be done before the processes start, each step at once where there is nothing to do.

``python -m portal.supervisor.prepare`` does it for a deployment without our supervisor, and prints the first-visit link.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from importlib import metadata
from pathlib import Path

from django.conf import settings

log = logging.getLogger(__name__)


def prepare() -> None:
    """Bring database and static files up to date and make the local administrator."""
    migrate()
    forget_workers()
    collect_static()
    from portal.accounts.services import local_administrator

    local_administrator()


def migrate() -> bool:
    """Apply the migrations that the database has not seen. Returns whether there were any."""
    from django.core.management import call_command
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    if not executor.migration_plan(executor.loader.graph.leaf_nodes()):
        return False
    call_command("migrate", interactive=False, verbosity=0)
    return True


def forget_workers() -> None:
    """Forget the signs of life of an earlier start, so that nobody takes them for those of workers that are yet to come."""
    from portal.jobs.models import Pulse

    Pulse.objects.all().delete()


def collect_static() -> bool:
    """Gather, hash and compress the static files unless none has changed since. Returns whether it was needed."""
    from django.core.management import call_command

    root = Path(settings.STATIC_ROOT)
    stamp = root / ".stamp"
    wanted = _static_fingerprint()
    if stamp.exists() and stamp.read_text() == wanted:
        return False
    # What a page of the running portal still refers to must stay until the new manifest is complete, so nothing is cleared
    # unless the folder was left unfinished.
    if root.exists() and not stamp.exists():
        shutil.rmtree(root)
    call_command("collectstatic", interactive=False, verbosity=0)
    stamp.write_text(wanted)
    return True


def _static_fingerprint() -> str:
    """Changes with any file of our own and with the version of any package that brings static files."""
    digest = hashlib.sha256()
    for package in ("django", "django-htmx", "django-allauth", "django-ninja", "whitenoise"):
        digest.update(f"{package} {metadata.version(package)}\n".encode())
    folder = settings.BASE_DIR / "portal"
    for path in sorted(path for static in folder.rglob("static") for path in static.rglob("*") if path.is_file()):
        state = path.stat()
        digest.update(f"{path.relative_to(folder)} {state.st_size} {state.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def submit_missing() -> list[str]:
    """Queue the jobs that fetch or build what this deployment wants and lacks. Returns their titles."""
    from portal.jobs import services
    from portal.jobs.models import ACTIVE, Job

    titles = []
    for slug, params in _missing():
        if not Job.objects.filter(type=slug, state__in=ACTIVE).exists():
            titles.append(services.submit(None, slug, params).title)
    return titles


def _missing() -> list[tuple[str, dict[str, object]]]:
    from portal.supervisor.model import embedded_model

    missing: list[tuple[str, dict[str, object]]] = []
    if settings.ENV.corpus_on_start and index_is_stale(settings.INDEX_DIR):
        missing.append(("corpus-ingest", {}))
    model = embedded_model()
    if model is not None and not Path(model.path).exists():
        missing.append(("model-pull", {"model": model.name}))
    return missing


def index_is_stale(index_dir: Path) -> bool:
    """Whether the index is missing, unfinished, or of other versions than those installed."""
    from assistant.corpus.config import list_sources
    from assistant.corpus.registry import source_kind
    from assistant.errors import AssistantError
    from assistant.index import index_status

    status = index_status(index_dir)
    if not status.lexical or status.dense < 1.0:
        return True
    built = {source.name: source for source in status.sources}
    try:
        entries = list_sources(index_dir)
        for entry in entries:
            known = built.get(entry.name)
            if known is None or (known.kind, known.location) != (entry.kind, entry.location):
                return True
            if not known.problem and known.version != source_kind(entry.kind).version(entry):
                return True
    except AssistantError as error:
        log.warning("the corpus sources cannot be compared with the index: %s", error)
        return False
    return len(entries) != len(built)


def main() -> None:
    """Prepare a deployment whose parts run elsewhere: its database, static files, administrator and first jobs."""
    import django

    django.setup()
    prepare()
    for title in submit_missing():
        print(f"Queued: {title}")
    from portal.accounts.services import create_sign_in_link, local_administrator

    print(f"First visit: {create_sign_in_link(local_administrator())}")


if __name__ == "__main__":
    main()
