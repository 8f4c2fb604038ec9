"""Train a stack of classifiers: words, an encoder's table of weights, and what weighs them."""
