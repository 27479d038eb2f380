"""The tests of scorekit; unit tests mirror the package, `laws` holds what several of them share."""
