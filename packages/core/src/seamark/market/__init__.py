"""Market data contracts, pure: no I/O, no clock, no globals.

Knows what a trade, a quote, an instrument and a feed event are, how they are named,
ordered and added up. Does not know Kafka, Iceberg catalogs or any service.
"""
