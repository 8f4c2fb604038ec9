"""The audit's two pages, made of a real run of the demo model, with their pictures."""
