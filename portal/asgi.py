"""The ASGI application that the web server runs."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
django.setup(set_prefix=False)

from portal.handler import Handler  # noqa: E402  (needs the settings)

application = Handler()
