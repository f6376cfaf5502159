"""What must last: responses and their questions, in SQLite."""
