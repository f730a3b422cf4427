"""One module a protocol: it reads requests, calls the application, and writes answers and errors in its own format."""
