"""Observe: what an installation tells of itself, as spans and metrics."""
