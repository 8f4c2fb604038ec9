"""A linear probe on hidden states, trained, judged, used in a policy and shown token by token."""
