"""Tells the sites of logouts: when, how, and what counts as heard. Knows nothing of pages."""
