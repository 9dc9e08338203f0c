"""The logout stores: one place to keep records each, and no imports between them."""
