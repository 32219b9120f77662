"""What each operation does: one function per handler named in the tables."""
