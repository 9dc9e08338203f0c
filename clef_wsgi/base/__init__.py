"""The ground floor of the middleware and the server: errors, options, URLs, redirect rules, deadlines, commands."""
