"""Shared by the views: cookies, request checks, rate limits, pages, and what a request says of its client."""
