"""One module per protocol: it reads requests, calls the application, and writes answers and errors in its format."""
