"""A policy's own tests: texts or scripted signals, step by step, and what the policy is to make of them.

No torch, no model.
"""
