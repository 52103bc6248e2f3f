"""A market-data venue that speaks Binance's spot protocol on loopback, for tests and demos.

It stands for the outside world: nothing here imports the rest of seamark, and nothing outside
imports this package. Clients meet it over WebSocket and REST; checkers read its journal.
"""
