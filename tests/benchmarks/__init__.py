"""Benchmarks, not run by pytest: ``python -m tests.benchmarks`` in the repository root."""
