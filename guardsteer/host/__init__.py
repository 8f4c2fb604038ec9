"""The only code that touches Hugging Face modules: blocks, hooks, fingerprints, chat roles."""
