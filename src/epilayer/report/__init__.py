"""Tables, pictures and the offline HTML."""
