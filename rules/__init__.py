"""Signalbox's decision core: pure functions over events, rules and memory; no I/O, no clock, no framework."""
