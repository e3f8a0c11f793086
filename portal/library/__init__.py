"""The library of uploaded files: content-addressed, inspected, owned."""
