"""What runs at a hospital; never imports the server."""
