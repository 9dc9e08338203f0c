"""What the server knows and the rules about it, as functions over a connection, inside the caller's transaction.

No file here knows anything of HTTP, pages, cookies or passkey ceremonies.
"""
