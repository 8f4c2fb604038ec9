"""When slow classifiers read, and what happens when one is late or fails."""
