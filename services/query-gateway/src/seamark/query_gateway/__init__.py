"""Exact answers from stream and lake together."""
