"""Where a trait lives: activations patched from one side of a pair into the other."""
