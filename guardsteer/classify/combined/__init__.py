"""Classifiers made of others: highest score, mean or a learned stack."""
