"""Frozen values that every room shares: specs, plans, events, digests. No torch, no I/O."""
