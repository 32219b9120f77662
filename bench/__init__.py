"""What freshline costs, beside what the same machine does without it: ``make bench``, or one case alone,
``.venv/bin/python -m bench describe --quick``.

Every figure is a ratio inside one run: what is measured and what it is held against take turns, A B A B, so that a
machine that slows down slows both. Beside the wall clock stands the CPU time of the server, which others on the same
machine disturb less.
"""
