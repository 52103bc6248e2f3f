"""Ingestor, role leg: one venue's WebSocket into Kafka.

A leg keeps nothing: what it has published and seen acknowledged is all there is. It does not
look for gaps, since it cannot see what other legs have published.
"""
