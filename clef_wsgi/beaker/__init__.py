"""Everything that knows Beaker: options, session class, login records, session storage."""
