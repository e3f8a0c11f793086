"""Every setting of a deployment, read from ``ML4EP_*`` environment variables and `.env`, checked before anything starts.

One field here, one entry in `.env.example` (a test compares them). A value that cannot be understood and a variable that no
field knows are both errors: a misspelt setting must not be ignored in silence.
"""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ROOT = Path(__file__).resolve().parent.parent
PREFIX = "ML4EP_"

GIB = 2**30

CommaSeparated = Annotated[list[str], NoDecode]


class EnvironmentProblem(SystemExit):
    """The environment cannot be used; the message names each variable and what is wrong with it."""


class Environment(BaseSettings):
    """What a deployment can set; each field is the variable ``ML4EP_<FIELD IN CAPITALS>``."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=None, extra="forbid", frozen=True)

    # Where things live
    data_dir: Path = Field(ROOT / "var", description="Folder of everything the portal stores")
    database_url: str = Field("", description="postgresql://user:password@host:5432/name; empty: SQLite in the data folder")
    broker_url: str = Field("", description="redis://, rediss:// or amqp:// address; empty: the embedded Valkey")
    storage_url: str = Field("", description="s3://bucket/prefix?endpoint=https://host; empty: files in the data folder")

    # Web
    host: str = Field("127.0.0.1", description="Address the web server listens on")
    port: int = Field(8000, ge=1, le=65535, description="Port the web server listens on")
    public_url: str = Field("", description="Address people use, e.g. https://ml4ep.example.org; empty: http://host:port")
    allowed_hosts: CommaSeparated = Field([], description="Further host names the portal answers to, separated by commas")
    secret_key: SecretStr = Field(SecretStr(""), description="Signs sessions; empty: made once and kept in the data folder")
    debug: bool = Field(False, description="Django's debug pages; never on a machine that others reach")
    web_processes: int = Field(2, ge=1, le=64, description="Web server processes")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least severe message that is logged")

    # Accounts
    signup: bool = Field(False, description="Whether visitors may make their own account")
    oidc_url: str = Field("", description="OpenID Connect issuer; empty: local accounts only")
    oidc_name: str = Field("Single sign-on", description="Name of the OpenID Connect provider on the sign-in page")
    oidc_client_id: str = Field("", description="Client id at the OpenID Connect provider")
    oidc_client_secret: SecretStr = Field(SecretStr(""), description="Client secret at the OpenID Connect provider")

    # Workers and limits
    worker_slots: int = Field(2, ge=1, le=256, description="Jobs that one worker runs at a time")
    quota_disk: int = Field(20 * GIB, ge=1, description="Bytes of files and artefacts a person may keep")
    quota_jobs: int = Field(10, ge=1, description="Jobs a person may have waiting or running")
    quota_seconds: int = Field(3600, ge=1, description="Longest run of one job, in seconds")
    quota_memory: int = Field(8 * GIB, ge=256 * 2**20, description="Memory of one job, in bytes")
    upload_limit: int = Field(4 * GIB, ge=1, description="Largest file that may be uploaded, in bytes")
    retention_days: int = Field(30, ge=1, description="Days after which the artefacts of a finished job are removed")
    geant4_data: str = Field("", description="Folder of Geant4's data sets, for its standard physics lists; empty: none")
    benchmark_engines: str = Field(
        "", description="Folder of engines that benchmarks have besides, as `ml4ep benchmark install` makes it; empty: none"
    )

    # Assistant
    model: str = Field("auto", description="Embedded model by its store name; auto: chosen by memory and cores; none: no model")
    model_url: str = Field("", description="OpenAI-compatible server, e.g. http://host:11434/v1; empty: the embedded model")
    model_name: str = Field("", description="Model to ask for at model_url")
    model_api_key: SecretStr = Field(SecretStr(""), description="Key for model_url, where it wants one")
    run_code: Literal["answers", "asked", "never"] = Field(
        "answers", description="Code is run in the sandbox: that of answers by itself, or when somebody asks for it, or never"
    )
    model_price_prompt: float = Field(0.0, ge=0, description="Price of a million prompt tokens at model_url")
    model_price_completion: float = Field(0.0, ge=0, description="Price of a million tokens that the model there writes")
    model_currency: str = Field("EUR", max_length=8, description="Currency of these prices")
    corpus_on_start: bool = Field(True, description="Index the installed documentation on the first start")

    # Forum
    forum_url: str = Field("", description="Discourse forum whose topics get drafts, e.g. https://forum.example.org; empty: none")
    forum_user: str = Field("", description="The bot's user name there")
    forum_key: SecretStr = Field(SecretStr(""), description="API key of that user")
    forum_webhook_secret: SecretStr = Field(SecretStr(""), description="Secret of the forum's webhook; empty: polling alone")

    # GitHub
    github_repository: str = Field("", description="Repository whose issues get drafts for review, as owner/name; empty: none")
    github_token: SecretStr = Field(SecretStr(""), description="Token that may read its issues; empty: 60 requests an hour")
    github_url: str = Field("https://api.github.com", description="The API; of an Enterprise server https://<host>/api/v3")

    @property
    def places(self) -> dict[str, Path]:
        """Folders of the machine that job types may read, by the names that they have in `portal.jobs.context.JobContext`."""
        named = {"geant4": self.geant4_data, "engines": self.benchmark_engines}
        return {name: Path(folder) for name, folder in named.items() if folder}

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @field_validator("geant4_data", "benchmark_engines")
    @classmethod
    def _folder(cls, value: str) -> str:
        if value and not Path(value).expanduser().is_dir():
            raise ValueError(f"there is no folder {value}")
        return str(Path(value).expanduser().resolve()) if value else ""

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: str) -> str:
        return _address(value, {"postgresql", "postgres", "sqlite"})

    @field_validator("broker_url")
    @classmethod
    def _broker(cls, value: str) -> str:
        return _address(value, {"redis", "rediss", "redis+socket", "amqp", "amqps"})

    @field_validator("storage_url")
    @classmethod
    def _storage(cls, value: str) -> str:
        return _address(value, {"s3"})

    @field_validator("public_url", "model_url", "oidc_url", "forum_url", "github_url")
    @classmethod
    def _http(cls, value: str) -> str:
        return _address(value, {"http", "https"}).rstrip("/")

    @field_validator("github_repository")
    @classmethod
    def _repository(cls, value: str) -> str:
        if value and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}", value):
            raise ValueError(f"{value!r} is no repository; write it as owner/name")
        return value

    @model_validator(mode="after")
    def _together(self) -> Environment:
        if self.model_url and not self.model_name:
            raise ValueError(f"{PREFIX}MODEL_URL needs {PREFIX}MODEL_NAME: the model to ask for there")
        if self.oidc_url and not (self.oidc_client_id and self.oidc_client_secret.get_secret_value()):
            raise ValueError(f"{PREFIX}OIDC_URL needs {PREFIX}OIDC_CLIENT_ID and {PREFIX}OIDC_CLIENT_SECRET")
        if self.forum_url and not (self.forum_user and self.forum_key.get_secret_value()):
            raise ValueError(f"{PREFIX}FORUM_URL needs {PREFIX}FORUM_USER and {PREFIX}FORUM_KEY")
        return self

    @property
    def github_page(self) -> str:
        """The repository's page, for people."""
        host = "https://github.com" if self.github_url == "https://api.github.com" else self.github_url.removesuffix("/api/v3")
        return f"{host}/{self.github_repository}"

    @property
    def drafts(self) -> bool:
        """Whether there is a forum or a repository whose questions get drafts."""
        return bool(self.forum_url or self.github_repository)


def _address(value: str, schemes: set[str]) -> str:
    """``value`` where its scheme is one of ``schemes``; raises ValueError otherwise."""
    if value and urlsplit(value).scheme not in schemes:
        wanted = ", ".join(f"{scheme}://" for scheme in sorted(schemes))
        raise ValueError(f"{value!r} is not an address that starts with {wanted}")
    return value


def read(dotenv: Path | None = ROOT / ".env") -> Environment:
    """The checked environment.

    Parameters
    ----------
    dotenv
        A file of ``NAME=value`` lines; variables of the process win over it. None: no file.

    Raises
    ------
    EnvironmentProblem
        A value cannot be understood, or a name is unknown.
    """
    problems = [_unknown(name) for name in _names_given(dotenv) if name.startswith(PREFIX) and not _known(name)]
    try:
        environment = Environment(_env_file=dotenv if dotenv and dotenv.exists() else None)
    except ValidationError as error:
        problems += [f"{_variable(item['loc'])}{item['msg'].removeprefix('Value error, ')}" for item in error.errors()]
    if problems:
        raise EnvironmentProblem("The settings cannot be used:\n" + "\n".join(f"  {line}" for line in dict.fromkeys(problems)))
    return environment


def _variable(location: tuple[int | str, ...]) -> str:
    return f"{PREFIX}{str(location[0]).upper()}: " if location else ""


def _names_given(dotenv: Path | None) -> list[str]:
    names = list(os.environ)
    if dotenv and dotenv.exists():
        lines = (line.strip().removeprefix("export ") for line in dotenv.read_text().splitlines())
        names += [line.split("=", 1)[0].strip() for line in lines if "=" in line and not line.startswith("#")]
    return names


# Set by the portal for its child processes, by the tests, and by people for the command line; not settings of a deployment.
INTERNAL = {"ML4EP_SANDBOXED", "ML4EP_ENV_FILE", "ML4EP_TOKEN", "ML4EP_REMOTE"}


def _known(name: str) -> bool:
    return name in INTERNAL or name.removeprefix(PREFIX).lower() in Environment.model_fields


def _unknown(name: str) -> str:
    nearest = get_close_matches(name, [PREFIX + field.upper() for field in Environment.model_fields], n=1)
    return f"{name} is not a setting" + (f"; did you mean {nearest[0]}?" if nearest else "; see .env.example")
