"""Transformer encoders and sequence classifiers, run by onnxruntime."""
