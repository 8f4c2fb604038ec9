"""The lines of the tables in docs/failures.md, each with the test that injects its fault."""
