"""The log's side of the contract: topics, framing, encoding, decoding.

Knows what bytes on a topic mean. Does not know who reads them or where rows go.
"""
