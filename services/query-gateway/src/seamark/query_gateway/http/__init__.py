"""The HTTP edge: /v1."""
