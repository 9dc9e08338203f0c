"""Liveness and metrics for the operator: ``/healthz`` and ``/metrics``."""
