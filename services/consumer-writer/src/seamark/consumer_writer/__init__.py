"""Kafka to Iceberg, exactly once.

Owns the checkpoint in each table: offsets move only in the commit that carries their rows.
"""
