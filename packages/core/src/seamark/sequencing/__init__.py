"""First occurrence, pure: which records of a partition are rows, decided by the log alone.

Knows ids, venue times and append times. Does not know bytes, tables or services.
"""
