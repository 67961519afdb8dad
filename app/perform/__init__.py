"""Perform: do what was decided, when it is due, once, and only while it should still be done."""
