"""Connections: what there is to connect to, what each asks for, and whether it works."""
