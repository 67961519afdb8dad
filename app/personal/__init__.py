"""Personal values: shown for a reason, erased, kept for a time, and sealed under another key."""
