"""Where rows come from: one module per format, all behind `Part` and `BlockReader`."""
