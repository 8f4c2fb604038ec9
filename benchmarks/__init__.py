"""Benchmarks: each is one command, ``python -m benchmarks.NAME``, and prints what it measured."""
