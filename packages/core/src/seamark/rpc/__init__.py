"""The gRPC side of the contracts in `protos`: stubs, rows as frames, servers, clients, errors.

Knows what goes over a connection. Does not know what a service does with it.
"""
