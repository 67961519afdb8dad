"""The gate: what every request passes before a page answers it."""
