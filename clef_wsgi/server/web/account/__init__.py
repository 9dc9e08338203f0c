"""The account page of a person, and logging out: everywhere, of one site, or in one browser."""
