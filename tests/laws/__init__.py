"""Checks shared by tests: statistics with their null laws, targets in closed form, small components, loss and driver
laws. A check returns a number (a p-value, an error); the test compares it, and `test_mutants.py` shows that it rejects
what is broken."""
