"""In-memory twins of the engines: the same contracts, no sockets, every fault on demand."""
