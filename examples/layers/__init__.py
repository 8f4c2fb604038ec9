"""Where to steer: the block that separates best against the block that steers best."""
