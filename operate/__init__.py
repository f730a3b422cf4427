"""Library that compares two running versions and moves traffic between them; imports nothing else of the project."""
