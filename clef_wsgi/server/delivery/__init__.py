"""Back-channel logout: deliver notifications to the webhooks of relying parties until they confirm."""
