"""Native kernels under a typed Python face."""
