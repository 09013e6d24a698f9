"""One file per family of figures; each function draws on new axes or on given ones."""
