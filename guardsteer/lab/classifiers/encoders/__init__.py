"""Transformer encoders and sequence classifiers, exported to ONNX."""
