"""The ocean persona at two strengths."""
