"""The WebAuthn registration and authentication ceremonies: options for browsers, verification of what they return."""
