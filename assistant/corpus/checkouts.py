"""Git checkouts of the portal's own: cloned from an address, brought up to date, never pushed to."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from assistant.corpus.document import Log
from assistant.errors import CorpusError

# The transports that only move data; `ext::` would run a command of the address.
_TRANSPORTS = ("https", "http", "ssh", "git", "file")
_ADDRESS = re.compile(rf"(?:(?:{'|'.join(_TRANSPORTS)})://[^\s#]+|[\w.-]+@[\w.-]+:[^\s#]+)")
_REVISION = re.compile(r"[A-Za-z0-9][\w./+-]*")
_SECONDS = 3600  # the whole of a large repository over a slow line


@dataclass(frozen=True, slots=True)
class Remote:
    """Where a repository is, and which branch, tag or commit of it is wanted; empty for its default branch."""

    address: str
    revision: str = ""

    @classmethod
    def parse(cls, location: str) -> Remote | None:
        """The remote of ``https://host/repository.git#v6-36-00``; None where `location` is no address but a path.

        Raises
        ------
        CorpusError
            It is an address, and not one that git should be given.
        """
        address, _, revision = location.partition("#")
        if "://" not in address and "::" not in address and not _ADDRESS.fullmatch(address):
            return None
        if not _ADDRESS.fullmatch(address) or (revision and (not _REVISION.fullmatch(revision) or ".." in revision)):
            raise CorpusError(
                f"{location!r} is no address of a git repository",
                hint=f"Write ADDRESS or ADDRESS#BRANCH; the address starts with {', '.join(f'{t}://' for t in _TRANSPORTS)}.",
                code="corpus.git",
            )
        return cls(address, revision)

    def folder(self, cache: Path) -> Path:
        """Where its checkout is kept."""
        name = re.sub(r"[^A-Za-z0-9]+", "-", self.address.rstrip("/").removesuffix(".git").rsplit("/", 1)[-1]).strip("-")
        digest = blake2b(f"{self.address}\0{self.revision}".encode(), digest_size=6).hexdigest()
        return cache / f"{name or 'repository'}-{digest}"


def bring(remote: Remote, cache: Path, log: Log, *, leave_out: tuple[str, ...] = ()) -> Path:
    """Clone a repository into `cache`, or bring its checkout up to date; only the newest commit is fetched.

    Where the network fails, the checkout of before is used and the log says so.

    Parameters
    ----------
    leave_out
        Top folders that are not wanted; servers that can leave them out save the time to send them.

    Raises
    ------
    CorpusError
        There is no checkout yet and none can be made.
    """
    folder = remote.folder(cache)
    cache.mkdir(parents=True, exist_ok=True)
    if (folder / ".git").is_dir():
        try:
            _git(folder, "fetch", "--quiet", "--depth", "1", "--force", "origin", remote.revision or "HEAD")
            _git(folder, "checkout", "--quiet", "--force", "--detach", "FETCH_HEAD")
        except CorpusError as error:
            log(f"{remote.address} is out of reach, what was fetched before is read: {error.message}")
        return folder
    log(f"Fetching {remote.address}")
    with tempfile.TemporaryDirectory(dir=cache, prefix=".clone-") as scratch:
        new = Path(scratch) / "new"
        new.mkdir()
        _git(new, "init", "--quiet")
        _git(new, "remote", "add", "origin", remote.address)
        if leave_out:
            _git(new, "sparse-checkout", "set", "--no-cone", "/*", *(f"!/{name}/" for name in leave_out))
        _git(new, "fetch", "--quiet", "--depth", "1", "--filter=blob:none", "origin", remote.revision or "HEAD")
        _git(new, "checkout", "--quiet", "--detach", "FETCH_HEAD")
        shutil.rmtree(folder, ignore_errors=True)  # what a copy that was cut off may have left
        new.rename(folder)
    return folder


def _git(folder: Path, *arguments: str) -> None:
    environment = os.environ | {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": ":".join(_TRANSPORTS),
        "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
        "GIT_LFS_SKIP_SMUDGE": "1",
    }
    # A checkout's hooks are ours (none), but a user's own configuration may name some.
    command = ["git", "-c", "core.hooksPath=/dev/null", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except FileNotFoundError:
        raise CorpusError(
            "git is not installed", hint="Install git, or give the path of a checkout.", code="corpus.git"
        ) from None
    except subprocess.TimeoutExpired:
        raise CorpusError(f"git {arguments[0]} took longer than an hour", hint="Try again later.", code="corpus.git") from None
    if done.returncode:
        said = " ".join(done.stderr.split())[-300:] or f"exit status {done.returncode}"
        raise CorpusError(
            f"git {arguments[0]} failed: {said}", hint="Check the address, the branch and the network.", code="corpus.git"
        )
