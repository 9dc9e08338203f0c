"""The authorization endpoint: a site sends a browser, a person approves, a code goes back (wire protocol, 1)."""
