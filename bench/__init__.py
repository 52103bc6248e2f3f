"""Measurements. Never tests: a benchmark prints and records figures, and fails on nothing but a wrong result."""
