"""An experiment's report: one offline HTML page, its JSON, and a table for the terminal."""
