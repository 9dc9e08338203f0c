"""The ground floor: what the middleware and the server both stand on. It knows no session, plug or server."""
