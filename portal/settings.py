"""Django settings, derived from `portal.env`. What a deployment may change is a field there; everything here is fixed."""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from portal import env

ENV = env.read(Path(os.environ.get("ML4EP_ENV_FILE", env.ROOT / ".env")))
BASE_DIR = env.ROOT
PYTHON = sys.executable  # runs the children of workers

# Folders of the embedded deployment. Nothing outside DATA_DIR is ever written.
DATA_DIR = ENV.data_dir
FILES_DIR = DATA_DIR / "files"
WORK_DIR = DATA_DIR / "work"
INDEX_DIR = DATA_DIR / "index"
MODELS_DIR = DATA_DIR / "models"
RUN_DIR = DATA_DIR / "run"
LOG_DIR = DATA_DIR / "log"
STATIC_ROOT = DATA_DIR / "static"
for _folder in (FILES_DIR, WORK_DIR, INDEX_DIR, MODELS_DIR, RUN_DIR, LOG_DIR, STATIC_ROOT):
    _folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def _secret_key() -> str:
    """The configured key, else one made on first use and kept readable by its owner alone."""
    if given := ENV.secret_key.get_secret_value():
        return given
    path = DATA_DIR / "secret_key"
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return path.read_text()
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(50))
    return path.read_text()


def _broker_socket() -> Path:
    """Where the embedded broker listens; a socket path may be no longer than about 100 characters."""
    path = RUN_DIR / "broker.sock"
    if len(str(path)) < 100:
        return path
    return Path(tempfile.gettempdir()) / f"ml4ep-{hashlib.sha256(str(path).encode()).hexdigest()[:16]}.sock"


def _database() -> dict[str, Any]:
    """Django's database setting for the configured address, SQLite in WAL mode by default."""
    url = urlsplit(ENV.database_url or f"sqlite:///{DATA_DIR / 'db.sqlite3'}")
    if url.scheme == "sqlite":
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": unquote(url.path),
            "CONN_MAX_AGE": None,  # each thread of a web process keeps its own
            "OPTIONS": {
                # Writers queue for the lock at BEGIN and wait, rather than fail on upgrading a read transaction.
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-16000;",
            },
        }
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(url.path.lstrip("/")),
        "USER": unquote(url.username or ""),
        "PASSWORD": unquote(url.password or ""),
        "HOST": url.hostname or parse_qs(url.query).get("host", [""])[0],
        "PORT": url.port or "",
        "OPTIONS": {"pool": {"min_size": 1, "max_size": 16, "timeout": 10}},
    }


def _storage() -> dict[str, Any]:
    """Django's storage setting: files in the data folder, or a bucket."""
    if not ENV.storage_url:
        return {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": FILES_DIR}}
    url = urlsplit(ENV.storage_url)
    options = {
        "bucket_name": url.netloc,
        "location": url.path.strip("/"),
        "file_overwrite": True,
        "default_acl": None,
    }
    if endpoint := parse_qs(url.query).get("endpoint"):
        options["endpoint_url"] = endpoint[0]
    return {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}


SECRET_KEY = _secret_key()
DEBUG = ENV.debug
PUBLIC_URL = ENV.public_url or f"http://{'127.0.0.1' if ENV.host == '0.0.0.0' else ENV.host}:{ENV.port}"  # noqa: S104
_public = urlsplit(PUBLIC_URL)
ALLOWED_HOSTS = sorted({_public.hostname or "localhost", "localhost", "127.0.0.1", "[::1]", *ENV.allowed_hosts})
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
HTTPS = _public.scheme == "https"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_NAME = f"ml4ep-{ENV.port}"  # two portals on one host keep their sessions apart
CSRF_COOKIE_NAME = f"ml4ep-csrf-{ENV.port}"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "django_htmx",
    "portal.accounts",
    "portal.jobs",
    "portal.library",
    "portal.chat",
    "portal.forum",
    "portal.showers",
    "portal.benchmarks",
    "portal.home",
]

MIDDLEWARE = [
    "portal.home.middleware.HealthMiddleware",
    "portal.home.middleware.ContentSecurityPolicyMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]


def _origin(address: str) -> str:
    """Scheme and host of an address, for the policy below."""
    url = urlsplit(address)
    return f"{url.scheme}://{url.netloc}" if address else ""


CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "script-src 'self'",
        "font-src 'self'",
        f"form-action 'self' {_origin(ENV.oidc_url)}".rstrip(),  # signing in there starts with a form here
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)

ROOT_URLCONF = "portal.urls"
ASGI_APPLICATION = "portal.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "portal.home.context.portal",
            ],
            "builtins": ["portal.home.templatetags.portal"],
        },
    }
]

DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STORAGES = {
    "default": _storage(),
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "portal" / "static"]
WHITENOISE_USE_FINDERS = DEBUG
# Uploads are streamed to disk by the views themselves; forms stay small.
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 2**20
FILE_UPLOAD_MAX_MEMORY_SIZE = 2 * 2**20
FILE_UPLOAD_TEMP_DIR = WORK_DIR

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True

# Accounts
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "home"
ACCOUNT_ADAPTER = "portal.accounts.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_RATE_LIMITS = {"login_failed": "10/m/ip,5/5m/key"}
SOCIALACCOUNT_PROVIDERS: dict[str, Any] = (
    {
        "openid_connect": {
            "APPS": [
                {
                    "provider_id": "oidc",
                    "name": ENV.oidc_name,
                    "client_id": ENV.oidc_client_id,
                    "secret": ENV.oidc_client_secret.get_secret_value(),
                    "settings": {"server_url": ENV.oidc_url},
                }
            ]
        }
    }
    if ENV.oidc_url
    else {}
)
SOCIALACCOUNT_LOGIN_ON_GET = False
CACHES: dict[str, Any] = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    # Rendered parts of pages that do not change, see portal.jobs.fragments; each web process has its own.
    "fragments": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "LOCATION": "fragments",
        "TIMEOUT": 3600,
        "OPTIONS": {"MAX_ENTRIES": 60},
    },
}

# Broker and workers. What counts as one job's run is decided in the database (claim and heartbeat, see portal.jobs.services):
# the broker may deliver a message twice, late or, after a restart, not at all.
BROKER_SOCKET = _broker_socket()
CELERY_BROKER_URL = ENV.broker_url or f"redis+socket://{BROKER_SOCKET}"
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # A page that submits a job while the broker is away answers at once; the reaper sends the message later.
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.1,
    "interval_max": 0.1,
} | (
    {"visibility_timeout": 60, "unacked_restore_interval": 2, "unacked_restore_throttle": 1}
    if CELERY_BROKER_URL.startswith("redis")
    else {}
)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TASK_DEFAULT_QUEUE = "cpu"
# The first that fits: what heals a queue must not wait in it.
CELERY_TASK_ROUTES = {"portal.*.housekeeping.*": {"queue": "system"}, "portal.chat.*": {"queue": "chat"}}
CELERY_BEAT_SCHEDULE = {
    "reap": {"task": "portal.jobs.housekeeping.reap", "schedule": timedelta(seconds=3), "options": {"expires": 3}},
    "expire": {"task": "portal.jobs.housekeeping.expire", "schedule": timedelta(hours=1)},
    "heal-chat": {"task": "portal.chat.housekeeping.heal", "schedule": timedelta(seconds=10), "options": {"expires": 10}},
    "forum": {"task": "portal.forum.housekeeping.tick", "schedule": timedelta(seconds=10), "options": {"expires": 10}},
}
CELERY_BEAT_SCHEDULE_FILENAME = str(RUN_DIR / "beat-schedule")

# Jobs
JOB_HEARTBEAT_SECONDS = 2.0
JOB_LOST_SECONDS = 10.0  # a run that has not written its heartbeat for this long has lost its worker
JOB_ATTEMPTS = 2  # a job whose worker dies this often fails

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": ENV.log_level},
    # Each of these writes a line for every request or every task, and housekeeping has one every few seconds.
    "loggers": {
        name: {"level": "WARNING"}
        for name in ("httpx", "uvicorn.access", "celery.app.trace", "celery.worker.strategy", "celery.beat")
    },
}
