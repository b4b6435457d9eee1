"""The site admin's commands: what a hospital has allowed, spent and can show."""
