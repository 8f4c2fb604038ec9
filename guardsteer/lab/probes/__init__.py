"""Probes: linear classifiers of hidden states."""
