"""What a direction is taken from and judged on: contrast pairs, prompts and instructions, in files too."""
