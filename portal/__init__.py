"""The portal: pages, REST API, command line and chat over one registry of jobs; alone in knowing HTTP and the database."""
