"""Access: who may come in: people, their sessions, and tokens of programs."""
