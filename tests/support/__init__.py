"""Fakes, peers, services and helpers that the tests share."""
