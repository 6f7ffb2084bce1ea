"""Measurements, not run by default: ``python -m tests.benchmarks`` in the repository's root."""
