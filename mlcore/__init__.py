"""The ML core: forests, networks, batches and showers as plain functions on files and arrays, free of the web."""
