"""What one push does to replies: the trait beside everything that it must not cost."""
