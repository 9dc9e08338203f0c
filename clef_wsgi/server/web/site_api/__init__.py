"""The API of sites: ``authorize``, ``info`` and ``logout`` (Clef wire protocol, sections 2 to 4)."""
