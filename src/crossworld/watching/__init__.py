"""Effects over the windows of a growing table, and an alarm when one has moved."""
