"""Made from protos/seamark/v1 by `make protos`."""
