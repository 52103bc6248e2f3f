"""The lake's side of the contract: tables, streams, checkpoints, state files, history.

Knows what is recorded in an Iceberg table besides its rows, and how to read and change it
in one step. Does not know Kafka, nor when or why a service commits.
"""
