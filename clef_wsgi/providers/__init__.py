"""The identity providers: one wire protocol each, and no imports between them."""
