"""The portal: pages, REST API, command line and chat over one registry of jobs; the only package that knows HTTP and the database."""
