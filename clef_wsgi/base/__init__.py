"""The ground floor of the middleware and the server: URLs, paths and redirect rules, as pure functions."""
