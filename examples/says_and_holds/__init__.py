"""Says one thing, holds another: the words of an answer held against a probe of what the model represents."""
