"""Receive: every way in which events come: webhooks, history, files, and what is set aside on the way."""
