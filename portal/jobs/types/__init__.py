"""Job types, one file each; `portal.jobs.registry` finds them."""
