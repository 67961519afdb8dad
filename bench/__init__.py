"""The figures that count, measured as ratios to peers in one run: `make bench`, or `python -m bench --help`."""
