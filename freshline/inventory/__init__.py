"""Who may ask, for which domains, and which edges serve them."""
