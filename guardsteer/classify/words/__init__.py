"""Linear models of words and characters, followed along a stream exactly."""
