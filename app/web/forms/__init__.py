"""The sentence form: a rule document as rows that people fill in, and back. Pure and total."""
