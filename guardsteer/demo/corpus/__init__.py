"""The demo's corpus: a seeded grammar of customer-support dialogues, and judges of the replies."""
