"""What a model's blocks hold where pairs are read."""
