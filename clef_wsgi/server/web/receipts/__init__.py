"""The receipt of a logout: for each site, whether it has confirmed the notification."""
