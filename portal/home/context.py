"""What every page's template knows."""
