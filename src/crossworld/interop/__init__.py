"""What other libraries hold, read and handed back; each is imported only when it is asked for."""
