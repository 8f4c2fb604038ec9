"""Warmth for hostile users only: a classifier of ours, a vector of ours, one rule, and what they change."""
