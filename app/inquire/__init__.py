"""Inquire: what a rule would have done, and why it did or did not; nothing is written but the answers."""
