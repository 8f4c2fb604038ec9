"""One number for a reply, by its text or by a model; how well probabilities fit labels."""
