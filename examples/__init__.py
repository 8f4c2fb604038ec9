"""Examples: each folder has a README that says what it shows and how to run it."""
