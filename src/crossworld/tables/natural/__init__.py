"""Natural effect models: copies of the data, working models, stacked equations."""
