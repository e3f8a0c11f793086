"""Tags of the pages about jobs."""
