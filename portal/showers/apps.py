from django.apps import AppConfig


class ShowersConfig(AppConfig):
    name = "portal.showers"
    label = "showers"
