"""What a browser and a site see: pages, cookies, the API. The rules are in ``records/``."""
