"""Recipes of vectors: what a vector is made from, read and checked."""
