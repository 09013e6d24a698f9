"""The numpy-only types that every front end shares."""
