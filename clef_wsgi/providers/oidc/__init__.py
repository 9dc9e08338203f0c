"""OpenID Connect: the authorization code flow, and back-channel logout.

Each file is one part of the standards: provider metadata, keys, client authentication, tokens, claims. joserfc
verifies the signatures, and is loaded with this package alone.
"""

from .provider import OIDCProvider

__all__ = ["OIDCProvider"]
