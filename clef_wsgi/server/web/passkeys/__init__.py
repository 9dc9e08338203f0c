"""Passkeys in the browser: sign in, enrol by a one-time link, add, rename and remove (WebAuthn 3, section 7)."""
