"""Tables: what was observed in rows and columns, and the methods that score its cells."""
