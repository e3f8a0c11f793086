from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "portal.jobs"
    label = "jobs"

    def ready(self) -> None:
        """Bind the tasks to the portal's Celery application in every process that may queue one, and know the checks."""
        import portal.celery
        import portal.checks  # noqa: F401
