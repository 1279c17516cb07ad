"""Where examples are stored: SQLite, the system of record."""
