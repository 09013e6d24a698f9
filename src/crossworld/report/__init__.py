"""Results for people: figures, one HTML page, Markdown. Nothing here estimates anything."""
