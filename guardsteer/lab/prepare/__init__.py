"""All that a policy needs on one model, in one command."""
