"""Filters and tags for the pages."""
from django import template
register = template.Library()
