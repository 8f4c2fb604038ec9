"""What is done beforehand: contrast pairs, captured states, vectors, trained classifiers."""
