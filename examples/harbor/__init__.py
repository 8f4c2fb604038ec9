"""The Harbor case: warmth on billing tickets alone, from contrast pairs to validation."""
