"""Storage and its rules, as functions over a connection, inside the caller's transaction: no HTTP, no ceremonies."""
