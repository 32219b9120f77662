"""Getting every row to every edge that serves its domain, and knowing that it arrived."""
