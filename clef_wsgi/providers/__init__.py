"""The providers: each file is one wire protocol, and none knows another."""
