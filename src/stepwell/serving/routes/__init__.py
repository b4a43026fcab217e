"""What the server can be asked, one file for each group of routes."""
