"""The home and status pages, the health check and what every page shares."""
