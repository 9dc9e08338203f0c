"""The HTTP surface: one folder for each feature, and ``support`` for what they share."""
