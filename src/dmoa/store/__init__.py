"""What must outlive the process: responses, in one file of SQLite."""
