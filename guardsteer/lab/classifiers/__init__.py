"""Text classifiers: their data and sources, training, evaluation and pages."""
