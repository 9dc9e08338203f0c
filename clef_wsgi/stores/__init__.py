"""The logout stores: each file is one place to keep records, and none knows another."""
